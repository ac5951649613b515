"""Student, teacher and data must mean the same classes."""
import re
from typing import Iterator, Optional, Sequence, Tuple

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmrazor.registry import HOOKS
from torch import nn

from ...errors import ConfigError, few
from ...models.teacher.build import is_headless

# Where the task libraries keep heads that classify; an RPN's one class is no class of the data.
HEADS = ('head', 'bbox_head', 'roi_head.bbox_head', 'decode_head', 'auxiliary_head')


@HOOKS.register_module()
class SameClassesHook(Hook):
    """Stops before the first step where classes differ; ``tools/train.py`` adds it by itself.

    The classes of the training data are compared with ``num_classes`` in the heads of student and
    teacher, and with the names that the teacher's checkpoint was trained on. What states no
    classes is not asked, nor is a teacher without a head.

    Args:
        teacher (bool): False where a teacher of other classes is meant, as for links between
            backbones. Defaults to True.

    Examples:
        >>> # In a config: do not compare the teacher's classes.
        >>> custom_hooks = [dict(type='mmrazor.SameClassesHook', teacher=False)]
        >>> from mmrazor.registry import HOOKS
        >>> HOOKS.build(custom_hooks[0]).teacher
        False
    """

    priority = 'VERY_HIGH'

    def __init__(self, teacher: bool = True) -> None:
        self.teacher = teacher

    def before_train(self, runner: Runner) -> None:
        """Compare."""
        meta = getattr(runner.train_dataloader.dataset, 'metainfo', {})
        classes = meta.get('classes')
        if classes is None or 'thing_classes' in meta:  # panoptic heads share them out
            return
        algorithm = runner.model.module if is_model_wrapper(runner.model) else runner.model
        _check_counts(getattr(algorithm, 'architecture', algorithm), 'student', classes,
                      f'num_classes={len(classes)}')
        if self.teacher and hasattr(algorithm, 'teacher'):
            check_teacher(
                algorithm.teacher, classes, 'the training data',
                "another checkpoint, or custom_hooks=[dict(type='mmrazor.SameClassesHook', "
                'teacher=False)] if this teacher is meant')


def check_teacher(teacher: nn.Module, classes: Sequence[str], data: str, expected: str) -> None:
    """Stop where a teacher's heads, or the names in its checkpoint, are of other classes.

    Args:
        teacher (nn.Module): Its ``checkpoint_classes`` are those of its checkpoint, if it has any.
        classes (Sequence[str]): Of the data.
        data (str): What the data is, for the message.
        expected (str): What is expected, for the message.
    """
    if is_headless(teacher):  # its checkpoint may name the classes that it was trained on
        return
    _check_counts(teacher, 'teacher', classes, expected, data)
    _check_names(getattr(teacher, 'checkpoint_classes', None), classes, expected, data)


def _check_counts(network: nn.Module, side: str, classes: Sequence[str], expected: str,
                  data: str = 'the training data') -> None:
    for place, count in _counts(network):
        if count != len(classes):
            raise ConfigError(f"classes: the {side}'s {place} has {count}, {data} "
                              f'{len(classes)} ({few(classes, 3)}); expected {expected}')


def _check_names(known: Optional[Sequence[str]], classes: Sequence[str], expected: str,
                 data: str) -> None:
    if known is None or list(map(_key, known)) == list(map(_key, classes)):
        return
    if len(known) != len(classes):
        found = f'{len(known)} ({few(known, 3)}), {data} {len(classes)} ({few(classes, 3)})'
    else:
        index = [_key(a) == _key(b) for a, b in zip(known, classes)].index(False)
        found = f'{known[index]!r} as number {index}, {data} {classes[index]!r}'
    raise ConfigError(f"classes: the teacher's checkpoint has {found}; expected {expected}")


def _counts(network: nn.Module) -> Iterator[Tuple[str, int]]:
    modules = dict(network.named_modules())
    for place in filter(modules.__contains__, HEADS):
        head = modules[place]
        for part in head if isinstance(head, nn.ModuleList) else [head]:
            count = getattr(part, 'num_classes', None)
            if isinstance(count, int) and not (count == 1 and hasattr(part, 'conv_seg')):
                yield place, count  # a segmentor may tell two classes by one number


def _key(name: str) -> str:
    """Releases differ in spaces, dashes, capitals and in the synonyms after a comma."""
    return re.sub('[^a-z0-9]', '', str(name).split(',')[0].lower()) or str(name)
