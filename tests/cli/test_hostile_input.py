"""Whatever a config says, the outcome is a step that works or one of this project's own errors.

Hypothesis draws links (right ones, those of the recipes, and both with random mistakes), sizes of
batches and images, and precisions. 200 examples here, 2,000 in `make nightly`.
"""
import copy
from contextlib import nullcontext
from functools import lru_cache, partial

import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from mmdistill_ext.cli.messages import line_for
from mmdistill_ext.engine.hooks import FiniteLossHook
from mmdistill_ext.errors import ConfigError
from tests.configs.tiny import load
from tests.small import batch, build, model_config

RECIPES = ['mlp/cls/mlp_backbone_resnet34_resnet18_8xb32_in1k.py',
           'mlp/det/mlp_neck_retinanet_x101_retinanet_r50_fpn_2x_coco.py',
           'fcfd/cls/fcfd-mlp-tffd_resnet32x4_resnet8x4_1xb64_cifar100.py',
           'tffd/cls/tffd_resnet20_1xb128_cifar100.py',
           'tffd/cls/tffd-logits_resnet110_resnet20_1xb128_cifar100.py']
PLACES = ['backbone', 'backbone.layer1', 'backbone.layer2', 'backbone.layer3', 'backbone.layer4',
          'backbone.layer4.1', 'backbone.conv1', 'backbone.layer1.0.bn1', 'neck', 'head.fc']
WRONG_PLACES = ['', 'bakbone', 'head.loss_module', 'data_preprocessor', 'backbone.layer1.0.relu']
LOSSES = ['FeatureL2Loss', 'FeatureMSELoss', 'KLDivergence', 'L2Loss', 'ATLoss',
          'ChannelWiseDivergence', 'PKDLoss', 'TfFDIntraLoss', 'TfFDInterLoss', 'DecoupledKLLoss']
CONNECTORS = ['MLPConnector', 'LinearConnector', 'Conv3x3Connector', 'DeformableConnector',
              'NonLocalConnector', 'IdentityConnector', 'ConvModuleConnector', 'FCFDBridge']
KEYS = ['student', 'teacher', 'connector', 'loss', 'resize', 'type', 'loss_weight', 'tau',
        'hidden_channels', 'in_channels', 'out_channels', 'num_hidden', 'distance', 'pairs', 'p',
        'rank', 'conector', 'links', 'weight', 'scale', '', 3]
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 40), st.floats(), st.text(max_size=4),
    st.sampled_from([*PLACES, *WRONG_PLACES, *LOSSES, *CONNECTORS, 'FeatureL3Loss', 'l2', 'at',
                     'sp', 'ickd', 'residual', 'batch', dict, torch.relu, [], {}, ['backbone', 3],
                     dict(type='ReLU'), dict(type='FeatureL2Loss', loss_weight='1'), [['neck']]])
).map(copy.deepcopy)  # for mistakes are made inside of them too


def typed(names, **fields):
    """A name alone, or a dict with some of the fields."""
    options = st.fixed_dictionaries(dict(type=st.sampled_from(names)), optional=fields)
    return st.one_of(st.sampled_from(names), options)


WEIGHTS = st.sampled_from([0, 1e-4, 1, 2.5])
TEACHER_LINK = st.fixed_dictionaries(
    dict(student=st.sampled_from(PLACES), loss=typed(LOSSES[:7], loss_weight=WEIGHTS)),
    optional=dict(resize=st.booleans(), connector=typed(CONNECTORS[:6]))).map(
        lambda link: dict(link, teacher=link['student']))
SEVERAL = st.lists(st.sampled_from(PLACES[1:5]), min_size=1, max_size=3, unique=True).map(sorted)
SELF_LINK = st.fixed_dictionaries(dict(student=SEVERAL, loss=typed(
    LOSSES[7:9], loss_weight=WEIGHTS, distance=st.sampled_from(['l2', 'at', 'SP', 'ickd']))))
TREES = st.dictionaries(st.sampled_from(['loss_a', 'loss_b', 'c_loss']),
                        st.one_of(TEACHER_LINK, SELF_LINK), min_size=1, max_size=2)


@lru_cache
def of_recipe(path):
    return load(path).model.distiller.to_dict()['links']


@st.composite
def links(draw):
    """A tree of links with up to three mistakes."""
    tree = draw(st.one_of(TREES, st.sampled_from(RECIPES).map(of_recipe)))
    tree, mistakes = copy.deepcopy(tree), draw(st.sampled_from([0, 0, 0, 1, 1, 2, 3]))
    for _ in range(mistakes):
        tree = mutated(draw, tree)
    return tree, mistakes


def mutated(draw, tree):
    """One place of the tree replaced, removed, renamed, added or put into a list."""
    nodes = list(containers(tree))
    if not nodes:
        return draw(JUNK)
    node = draw(st.sampled_from(nodes))
    keys = list(node) if isinstance(node, dict) else range(len(node))
    what = draw(st.sampled_from(['replace', 'remove', 'rename', 'add', 'list']))
    key = draw(st.sampled_from(list(keys))) if keys else None
    if what == 'add' or key is None:
        if isinstance(node, dict):
            node[draw(st.sampled_from(KEYS))] = draw(JUNK)
        else:
            node.append(draw(JUNK))
    elif what == 'replace':
        node[key] = draw(JUNK)
    elif what == 'list':
        node[key] = [node[key]] * draw(st.integers(0, 2))
    else:
        value = node.pop(key)
        if what == 'rename' and isinstance(node, dict):
            node[draw(st.sampled_from(['loss.a', 'feature', 'loss', 7, *KEYS]))] = value
    return tree


def containers(tree):
    if isinstance(tree, (dict, list)):
        yield tree
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from containers(value)


@lru_cache
def network(task, width):
    torch.manual_seed(0)
    return build(model_config(task, width))


FIELDS = st.fixed_dictionaries({}, optional=dict(
    teacher_dtype=st.sampled_from([None, 'bf16', 'bf16', 'int4', 3]),
    teacher_norm_eval=st.booleans(), teacher_fuse_bn=st.sampled_from([None, False, True]),
    teacher_channels_last=st.sampled_from([None, False, True]),
    inherit=st.sampled_from([(), 'head', ['backbone', 'head'], 3, ['hed'], [None]])))
CASE = st.fixed_dictionaries(dict(
    links=links(), fields=FIELDS, task=st.sampled_from(['cls'] * 6 + ['det']),
    widths=st.sampled_from([(4, 8), (8, 8), (8, 8), (8, 4)]), images=st.integers(1, 3),
    height=st.integers(33, 70), width=st.integers(33, 70),
    dtype=st.sampled_from([torch.uint8, torch.float, torch.double, torch.half]),
    mode=st.sampled_from(['float', 'double', 'bf16'])))


def distilled(case):
    student, teacher = (copy.deepcopy(network(case['task'], width)) for width in case['widths'])
    links, _ = case['links']
    distiller = dict(type='LinkDistiller', links=links)
    values = links.values() if isinstance(links, dict) else ()
    if values and all(isinstance(link, dict) and not link.get('teacher') for link in values):
        event('self-distillation')
        return build(dict(type='TeacherFreeDistill', architecture=student, distiller=distiller))
    return build(dict(type='LeanTeacherDistill', architecture=student, teacher=teacher,
                      distiller=distiller, **case['fields']))


def outcome(case):
    """Build and take one step."""
    try:
        model = distilled(case).train()
    except Exception as error:
        line = line_for(error)
        assert line and '\n' not in line
        event('refused')
        return
    data = batch(case['task'], case['images'], 64)
    if case['task'] == 'cls':
        size = (3, case['height'], case['width'])
        data['inputs'] = [torch.randint(0, 256, size).to(case['dtype']) for _ in data['inputs']]
    model = model.double() if case['mode'] == 'double' and not case['fields'].get(
        'teacher_dtype') and case['task'] == 'cls' else model
    data = model.data_preprocessor(data, True)
    if next(model.parameters()).dtype == torch.double:
        data['inputs'] = data['inputs'].double()
    with torch.autocast('cpu', torch.bfloat16) if case['mode'] == 'bf16' else nullcontext():
        losses = model(**data, mode='loss')
    total, _ = model.parse_losses(losses)
    if not total.isfinite():  # a mistake such as tau=0; then it must be said which loss it is
        guard = FiniteLossHook()
        guard.model, guard.losses, guard.data_batch = model, losses, data
        assert case['links'][1] and 'distill.' in guard._blame(), losses
        event('a NaN')
        return
    total.backward()
    for name, parameter in model.distiller.connectors.named_parameters():
        assert parameter.grad is not None, name
    event('a step')


few = partial(settings, deadline=None, database=None, print_blob=True,
              suppress_health_check=list(HealthCheck))


@pytest.mark.train
@few(max_examples=200, derandomize=True)
@given(CASE)
def test_200(case):
    outcome(case)


@pytest.mark.nightly
@few(max_examples=2000)
@given(CASE)
def test_2000(case):
    outcome(case)


def test_the_error_for_what_is_no_config():
    """What stands for 'one of its own errors' is not simply anything."""
    assert line_for(ConfigError('a')) == 'a' and line_for(ValueError('a')) is None
