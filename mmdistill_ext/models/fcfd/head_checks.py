"""Whether two heads can take each other's features: found out when a model is built."""
from dataclasses import fields
from typing import Any, Callable, List

from torch import Tensor, nn

from ...errors import ConfigError, few
from ..utils.dry_run import tensors_of, untouched
from .head_contract import Signature


def get_head(model: nn.Module, name: str, who: str) -> nn.Module:
    """The head of a model; one that it does not have is an error.

    Args:
        model (nn.Module): A detector or segmentor.
        name (str): Such as 'roi_head'.
        who (str): Who asks, and for which side, for the message.
    """
    if getattr(model, name, None) is None:
        raise ConfigError(f'{who}: {type(model).__name__} has no {name!r}; expected a model with '
                          'one')
    return getattr(model, name)


def check_signatures(who: str, head: str, student: Signature, teacher: Signature) -> None:
    """Raise if the two heads' outputs are not comparable.

    Args:
        who (str): Who asks.
        head (str): What the heads are called.
        student (Signature): What must agree, most important first.
        teacher (Signature): The same; after the first difference it may lack fields.
    """
    for name in (field.name for field in fields(student)):
        own, other = getattr(student, name), getattr(teacher, name)
        if own != other:
            raise ConfigError(f"{who}: {name} of the student's {head} is {own}, of the teacher's "
                              f'{other}; they must agree')


def check_features(who: str, place: str, features: List[Any]) -> None:
    """Raise if what a head reads is not feature maps.

    Args:
        who (str): Who asks, and for which side.
        place (str): The module that gives them.
        features (list): What it gave, by level.
    """
    for x in features:
        if not isinstance(x, Tensor) or x.ndim != 4:
            shapes = [list(tensor.shape) for tensor in tensors_of(x)]
            found = ' beside '.join(map(str, shapes)) or type(x).__name__
            raise ConfigError(f'{who}: a level of {place!r} is {found}; expected feature maps '
                              '[N, C, H, W]')


def check_one_softmax(who: str, head: nn.Module) -> None:
    """Raise unless the class logits of a box head are those of one softmax, as the KL takes them.

    Args:
        who (str): Who asks, and for which side, for the message.
        head (nn.Module): A box head of mmdet.
    """
    name, instances = type(head).__name__, getattr(head, 'num_instance', 1)
    if instances != 1:
        raise ConfigError(f'{who}: {name} gives the class logits of {instances} instances side by '
                          'side; expected those of one')
    if head.custom_activation:
        raise ConfigError(f'{who}: {name} with {type(head.loss_cls).__name__} does not turn its '
                          'class logits into probabilities by one softmax; expected '
                          'CrossEntropyLoss in loss_cls')


def check_maps(who: str, student: List[Tensor], teacher: List[Tensor]) -> None:
    """As many levels on both sides, of one size for one image."""
    sizes = [[tuple(x.shape[2:]) for x in maps] for maps in (student, teacher)]
    if sizes[0] != sizes[1]:
        shown = [f'the {side} gives {len(size)} levels of {few(size)}'
                 for side, size in zip(('student', 'teacher'), sizes)]
        raise ConfigError(f'{who}: {" and ".join(shown)} (H, W) for one image; number and strides '
                          'of the levels must agree')


def try_out(who: str, head: nn.Module, run: Callable[[List[Tensor]], Any],
            features: List[Tensor]) -> Any:
    """The outputs of a head on features alone, without the rest of its model.

    Args:
        who (str): Who asks, and for which side.
        head (nn.Module): The head that ``run`` calls.
        run (Callable): Calls it.
        features (list[Tensor]): What it would get.
    """
    features = [x.to(next(head.parameters()).dtype) for x in features]
    try:
        with untouched(head):
            return run(features)
    except ConfigError:
        raise
    except Exception as error:  # whatever a head makes of what it was not made for
        raise ConfigError(f'{who}: {type(head).__name__} does not run alone on '
                          f'{[list(x.shape) for x in features]}: {error!r}') from error
