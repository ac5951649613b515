"""What counts as the same classes; the lines that it stops a run with are in test_mistakes.py."""
from types import SimpleNamespace

import pytest
from torch import nn

from mmdistill_ext.engine.hooks import SameClassesHook
from mmdistill_ext.errors import ConfigError


class Head(nn.Module):

    def __init__(self, num_classes, **children):
        super().__init__()
        self.num_classes = num_classes
        for name, child in children.items():
            self.add_module(name, child)


def network(known=None, **heads):
    module = nn.Module()
    for name, head in heads.items():
        module.add_module(name, head)
    module.checkpoint_classes = known
    return module


def check(classes, student, teacher=None, meta=(), ask=True):
    algorithm = network(architecture=student)
    if teacher is not None:
        algorithm.teacher = teacher
    dataset = SimpleNamespace(metainfo=dict(meta, classes=classes))
    SameClassesHook(teacher=ask).before_train(SimpleNamespace(
        model=algorithm, train_dataloader=SimpleNamespace(dataset=dataset)))


CATS = ('cat', 'dog', 'great white shark, man-eater')


@pytest.mark.parametrize('heads', [
    dict(head=Head(3)), dict(rpn_head=Head(1), bbox_head=Head(3)),
    dict(rpn_head=Head(1), roi_head=nn.ModuleDict(dict(bbox_head=nn.ModuleList([Head(3)] * 2)))),
    dict(decode_head=Head(3), auxiliary_head=nn.ModuleList([Head(3), Head(3)])),
    dict(decode_head=Head(1, conv_seg=nn.Identity()))])
def test_counts_that_agree(heads):
    check(CATS, network(**heads), network(**heads))


@pytest.mark.parametrize('heads, place', [
    (dict(head=Head(2)), 'head'), (dict(bbox_head=Head(1)), 'bbox_head'),
    (dict(roi_head=nn.ModuleDict(dict(bbox_head=nn.ModuleList([Head(3), Head(4)])))),
     'roi_head.bbox_head'),
    (dict(decode_head=Head(3), auxiliary_head=Head(4)), 'auxiliary_head')])
def test_counts_that_differ(heads, place):
    with pytest.raises(ConfigError, match=f"the student's {place} has"):
        check(CATS, network(**heads))
    with pytest.raises(ConfigError, match=f"the teacher's {place} has"):
        check(CATS, network(head=Head(3)), network(**heads))
    check(CATS, network(head=Head(3)), network(**heads), ask=False)
    check(CATS, network(**heads), meta=dict(thing_classes=CATS))
    check(None, network(**heads))


@pytest.mark.parametrize('known, fits', [
    (None, True), (['cat', 'dog', 'great white shark'], True),
    (('Cat', 'dog', 'great_white-shark, Carcharodon'), True),
    (('dog', 'cat', 'great white shark'), False), (('cat', 'dog', 'wolf'), False),
    (('cat', 'dog'), False)])
def test_names(known, fits):
    student, teacher = network(), network(known)
    if fits:
        check(CATS, student, teacher)
    else:
        with pytest.raises(ConfigError, match="the teacher's checkpoint has"):
            check(CATS, student, teacher)
