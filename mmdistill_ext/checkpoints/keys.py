"""How the tensors of a checkpoint differ from those of a network."""
from typing import List, Mapping, NamedTuple, Sequence

from torch import Tensor

from ..errors import few


class Difference(NamedTuple):
    """Names of tensors; as text, what a message says of them.

    Args:
        missing (list[str]): In the network alone.
        unexpected (list[str]): In the checkpoint alone.
        misshapen (list[str]): In both, with both shapes.
    """
    missing: List[str]
    unexpected: List[str]
    misshapen: List[str]

    @property
    def total(self) -> int:
        return sum(map(len, self))

    def __str__(self) -> str:
        kinds = zip(('missing', 'unexpected', 'of another shape'), self)
        return '; '.join(
            f'{len(names)} {kind} ({few(names)})' for kind, names in kinds if names)


def misshapen_name(name: str, found: Sequence[int], expected: Sequence[int]) -> str:
    """A name with the shape that a checkpoint has and the one that the network has."""
    return f'{name} {tuple(found)} instead of {tuple(expected)}'


def compare(expected: Mapping[str, Sequence[int]], state: Mapping[str, Tensor]) -> Difference:
    """Compare names and shapes.

    Args:
        expected (Mapping): The network's tensors, name -> shape.
        state (Mapping): The checkpoint's, name -> tensor.
    """
    return Difference(
        [name for name in expected if name not in state],
        [name for name in state if name not in expected],
        [misshapen_name(name, state[name].shape, shape) for name, shape in expected.items()
         if name in state and tuple(state[name].shape) != tuple(shape)])
