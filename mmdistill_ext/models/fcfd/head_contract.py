"""What FCFD needs of a head: two heads agree, one of them runs, and the student's is recorded."""
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Dict, Generic, List, Optional, Tuple, Type, TypeVar

from mmengine.registry import Registry
from torch import Tensor, nn

from ...errors import ConfigError
from .bridges import FCFDBridge

HEADS = Registry('FCFD head')  # a contract under the name of each class of heads that it is for
Outputs = TypeVar('Outputs')


@dataclass(frozen=True)
class Signature:
    """What student and teacher must agree in, most important first. A kind of head adds fields.

    Args:
        num_classes (int): Classes that the head tells apart.
    """
    num_classes: int


class HeadContract(ABC, Generic[Outputs]):
    """A head of the student or of the teacher, as FCFD uses it.

    A new kind of head is a subclass beside those in ``roi.py``, ``dense.py`` and ``seg.py``,
    registered in ``HEADS`` under the names of the library's classes. A class that derives from one
    of them counts as that one.

    Args:
        head (nn.Module): The head.
        kind (str): The registered name that it was found by.
        side (str): 'student' or 'teacher'.
        who (str): Who asks, for messages.
    """

    place: ClassVar[str]  # the name of the head in its model
    recorders: ClassVar[Dict[str, dict]]  # MMRazor's, of what the student's head does in its loss
    comparable: ClassVar[bool] = True  # False: known, and refused by its signature
    example_inputs: ClassVar[tuple] = ()  # what a head takes beside features, for a dry run

    def __init__(self, head: nn.Module, kind: str, side: str, who: str) -> None:
        self.head, self.kind, self.side, self.label = head, kind, side, f'{who}, {side}'
        self.who = f"{who}: the {side}'s {type(head).__name__}"

    @abstractmethod
    def signature(self) -> Signature:
        """What must agree with the other head. Raises ConfigError if FCFD cannot use this one."""

    @abstractmethod
    def head_outputs(self, features: List[Tensor], *inputs: Any) -> Outputs:
        """Run the head on features, and on what the student's head took beside them."""

    @abstractmethod
    def recorded(self, records: Dict[str, list]) -> Tuple[Outputs, tuple]:
        """The outputs in the student's own loss, and what the head took there beside features."""

    def rescaled(self, outputs: Outputs, other: 'HeadContract') -> Outputs:
        """These outputs in the units of another head's."""
        return outputs

    def features(self, output: Any) -> List[Tensor]:
        """The maps that the head reads, from what the neck (or backbone) returned."""
        return list(output)

    def levels_read(self) -> Optional[int]:
        """How many of the maps the head reads, from the first on; None for all."""
        return None

    def bridge(self, source: Tensor, target: Tensor) -> FCFDBridge:
        """A bridge between maps ``[N, C, H, W]``."""
        return FCFDBridge(source.shape[1], target.shape[1])


def find_contract(head: nn.Module, contract: Type[HeadContract], side: str,
                  who: str) -> HeadContract:
    """The registered contract for a head.

    Args:
        head (nn.Module): The head.
        contract (type): The family that is looked in, such as ``DenseHead``.
        side (str): 'student' or 'teacher'.
        who (str): Who asks, for messages.
    """
    known = {name: kind for name, kind in HEADS.module_dict.items() if issubclass(kind, contract)}
    for base in type(head).__mro__:
        if base.__name__ in known:
            return known[base.__name__](head, base.__name__, side, who)
    found = type(head).__name__
    if isinstance(head, nn.ModuleList):
        found = 'a list of ' + ', '.join(type(one).__name__ for one in head)
    usable = ', '.join(sorted(name for name, kind in known.items() if kind.comparable))
    raise ConfigError(f"{who}: the {side}'s {contract.place} is {found}; expected one of {usable}")
