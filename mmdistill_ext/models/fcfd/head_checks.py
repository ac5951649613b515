"""Whether two heads can be lenses for each other's features: found out when a model is built."""
from typing import Any, Callable, Dict, List

from torch import Tensor, nn

from ...errors import ConfigError
from ..utils.dry_run import untouched


def get_head(model: nn.Module, name: str, who: str) -> nn.Module:
    """The head of a model; one that it does not have is an error.

    Args:
        model (nn.Module): A detector or segmentor.
        name (str): Such as 'roi_head'.
        who (str): Who asks, and for which side, for the message.
    """
    if not hasattr(model, name):
        raise ConfigError(f'{who}: {type(model).__name__} has no {name!r}, which is the lens')
    return getattr(model, name)


def check_facts(who: str, head: str, student: Dict[str, Any], teacher: Dict[str, Any]) -> None:
    """Stops where an answer would mean something else in the other head.

    Args:
        who (str): Who asks.
        head (str): What the heads are called.
        student (dict[str, Any]): What must agree, by name, most important first.
        teacher (dict[str, Any]): The same; after the first difference it may lack names.
    """
    for name, own in student.items():
        if own != teacher[name]:
            raise ConfigError(f"{who}: {name} of the student's {head} is {own}, of the teacher's "
                              f'{teacher[name]}; they must agree')


def check_one_softmax(who: str, head: nn.Module) -> None:
    """Raise unless the class logits of a box head are those of one softmax, as the KL takes them.

    Args:
        who (str): Who asks, and for which side, for the message.
        head (nn.Module): A box head of mmdet.
    """
    name, instances = type(head).__name__, getattr(head, 'num_instance', 1)
    if instances != 1:
        raise ConfigError(f'{who}: {name} gives the class logits of {instances} instances side by '
                          'side; a head that gives those of one would fit')
    if head.custom_activation:
        raise ConfigError(f'{who}: {name} with {type(head.loss_cls).__name__} does not turn its '
                          'class logits into probabilities by one softmax; CrossEntropyLoss in '
                          'loss_cls would fit')


def check_maps(who: str, student: List[Tensor], teacher: List[Tensor]) -> None:
    """As many levels on both sides, of one size for one image."""
    sizes = [[tuple(x.shape[2:]) for x in maps] for maps in (student, teacher)]
    if sizes[0] != sizes[1]:
        shown = [f'the {side} gives {len(size)} levels of {", ".join(map(str, size))}'
                 for side, size in zip(('student', 'teacher'), sizes)]
        raise ConfigError(f'{who}: {" and ".join(shown)} (H, W) for one image; number and strides '
                          'of the levels must agree')


def try_out(who: str, head: nn.Module, answer: Callable[[List[Tensor]], Any],
            features: List[Tensor]) -> Any:
    """What a head answers to features alone, without the rest of its model.

    Args:
        who (str): Who asks, and for which side.
        head (nn.Module): The head that ``answer`` calls.
        answer (Callable): Calls it.
        features (list[Tensor]): What it would get.
    """
    features = [x.to(next(head.parameters()).dtype) for x in features]
    try:
        with untouched(head):
            return answer(features)
    except Exception as error:  # whatever a head makes of what it was not made for
        raise ConfigError(f'{who}: {type(head).__name__} does not run alone on '
                          f'{[list(x.shape) for x in features]}: {error!r}') from error
