"""What is known of a stage, and what the stages of a network gave."""
from functools import cached_property
from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..losses.precision import at_least_float32

MOST = 4  # stages by default, counted from the last


class Feature(NamedTuple):
    """What is known of a stage's output.

    Args:
        name (str): The module that gives it.
        channels (int): C.
        size (tuple[int]): H and W of a map, L of tokens, for an image of ``image`` pixels.
        image (int): Pixels.
        post_relu (bool): Whether nothing in it is negative.
    """
    name: str
    channels: int
    size: Tuple[int, ...]
    image: int
    post_relu: bool

    def __str__(self) -> str:
        shape = [self.channels, *self.size] if len(self.size) == 2 else [*self.size, self.channels]
        return f'{self.name} {shape}'


def feature_in(name: str, x: Tensor, image: int) -> Feature:
    """What is known of a stage from what it gave.

    Args:
        name (str): The module that gave it.
        x (Tensor): ``[N, C, H, W]`` or tokens ``[N, L, C]``.
        image (int): Height and width of the images.
    """
    channels, size = (x.shape[2], x.shape[1:2]) if x.ndim == 3 else (x.shape[1], x.shape[2:])
    return Feature(name, channels, tuple(size), image, bool(x.min() >= 0))


class Record:
    """What a pure path gave.

    Args:
        features (list[Tensor]): ``features[k - 1]`` is the output of stage k.
        logits (Tensor): ``[N, classes]``.
    """

    def __init__(self, features: List[Tensor], logits: Tensor) -> None:
        self.features, self.logits = features, logits

    @cached_property
    def pooled(self) -> Tensor:
        """Of the last feature, see :func:`pooled`."""
        return pooled(self.features[-1])

    @cached_property
    def wide(self) -> 'Record':
        """The same in float32 at least, as targets of several terms: each is cast once."""
        return Record([at_least_float32(x) for x in self.features], at_least_float32(self.logits))

    def detached(self, dtype: Optional[torch.dtype] = None) -> 'Record':
        """The same without gradient, for use as a target; in another precision if asked."""
        return Record([x.detach().to(dtype or x.dtype) for x in self.features],
                      self.logits.detach())


def pooled(feature: Tensor) -> Tensor:
    """What a classifier sees of a last stage, the mean of the ReLU over all positions.

    Args:
        feature (Tensor): ``[N, C, H, W]`` or tokens ``[N, L, C]``.

    Returns:
        Tensor: ``[N, C]``.
    """
    return F.relu(feature).mean(1 if feature.ndim == 3 else (2, 3))


def merged(shapes: Dict[str, torch.Size]) -> List[str]:
    """Four stages at most, of the candidates for their ends.

    Of more, the last one of those that give maps of one size counts, and the last four in all;
    where all are of one size, as in a plain transformer, four equal parts. What gives neither maps
    nor tokens is no candidate.

    Args:
        shapes (dict[str, torch.Size]): What they give, in order.
    """
    shapes = {name: shape for name, shape in shapes.items() if len(shape) in (3, 4)}
    names = list(shapes)
    if len(names) <= MOST:
        return names
    last = {shape[2:] if len(shape) == 4 else shape: name for name, shape in shapes.items()}
    if len(last) > 1:
        return list(last.values())[-MOST:]
    return [names[len(names) * part // MOST - 1] for part in range(1, MOST + 1)]
