"""Tf-FD's squared distances: one autograd function a term, with as few operators as will do.

A small student waits on a GPU for every operator to be launched.
"""
from typing import Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..utils.constants import constant, made_once
from .precision import at_least_float32
from .window_mean import Size, pooled, spread, windows_between


@made_once
def _samples(count: int, device: torch.device) -> Tensor:
    """``[N, 1]``: the index that goes with ``[N, K]`` channel numbers."""
    return torch.arange(count, device=device).unsqueeze(1)


def _times(x: Tensor, factors: Sequence[float]) -> Tensor:
    return x * constant(tuple(factors), x.device, x.dtype)


def _weighted(terms: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    found = torch.stack(list(terms))
    return found.dot(constant(tuple(weights), found.device, found.dtype))


class _Halves(torch.autograd.Function):
    """See :func:`halves_l2`. Keeps the difference of the two halves, and channel numbers."""

    @staticmethod
    def forward(ctx, weights: Tuple[float, ...], both: bool, *tensors: Tensor) -> Tensor:
        layers = len(weights)
        terms, kept = [], []
        for feature, pairs in zip(tensors[:layers], tensors[layers:]):
            ranked = at_least_float32(feature[_samples(len(feature), feature.device), pairs])
            strong, weak = ranked.chunk(2, 1)
            terms.append(F.mse_loss(weak, strong, reduction='sum'))
            kept.append((weak - strong).to(feature.dtype))
        ctx.save_for_backward(*kept, *tensors[layers:])
        ctx.shapes = [feature.shape for feature in tensors[:layers]]
        ctx.weights, ctx.both = weights, both
        return _weighted(terms, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        layers = len(ctx.weights)
        signs = (-2, 2) if ctx.both else (2, )  # of the strong and the weak half
        factors = _times(grad, [sign * weight for weight in ctx.weights for sign in signs]) \
            .view(layers, len(signs), 1, 1, 1)
        grads = []
        for difference, pairs, shape, factor in zip(
                ctx.saved_tensors[:layers], ctx.saved_tensors[layers:], ctx.shapes, factors):
            change = (difference.unsqueeze(1) * factor).flatten(1, 2).to(difference.dtype)
            grads.append(difference.new_zeros(shape).index_put_(
                (_samples(shape[0], grad.device), pairs[:, -change.shape[1]:]), change))
        return (None, None, *grads, *(None for _ in grads))


def halves_l2(features: Sequence[Tensor], pairs: Sequence[Tensor], weights: Sequence[float],
              both: bool) -> Tensor:
    """``sum_i weights[i] * sum((weak_i - strong_i)^2)`` over the layers.

    Args:
        features (Sequence[Tensor]): ``[N, C, H, W]`` each.
        pairs (Sequence[Tensor]): ``[N, 2 * K]`` channel numbers each: K strong ones, then the K
            weak ones that they teach.
        weights (Sequence[float]): One a layer.
        both (bool): Whether the strong half gets a gradient too.
    """
    return _Halves.apply(tuple(weights), both, *features, *pairs)


class Compared(NamedTuple):
    """How a pooled shallow map and a deep one are compared.

    Args:
        term (Tensor): A sum of squares.
        weight (float): What it is multiplied by.
        target (Tensor): ``factor`` times the map less this is the gradient of the weighted term.
        factor (float): See ``target``.
    """
    term: Tensor
    weight: float
    target: Tensor
    factor: float


Compare = Callable[[Tensor, Tensor], Compared]


class _Chain(NamedTuple):
    """What backward needs to know of one shallow map."""
    shape: torch.Size
    dtype: torch.dtype
    windows: List[Optional[Size]]  # from one deeper map to the next
    factors: List[float]  # of the differences


class _Inter(torch.autograd.Function):
    """See :func:`inter_l2`. Keeps one difference, of the deep map's size, for each pair."""

    @staticmethod
    def forward(ctx, compare: Compare, deeper: Sequence[range], weight: float,
                *features: Tensor) -> Tensor:
        maps = [at_least_float32(feature) for feature in features]
        ctx.weight = weight / sum(map(len, deeper))  # of a pair
        compared, kept, ctx.chains = [], [], []
        for index, others in enumerate(deeper):
            sizes = [maps[other].shape[2:] for other in others]
            windows = windows_between(maps[index].shape[2:], sizes)
            pairs = []
            for other, x in zip(others, pooled(maps[index], windows, sizes)):
                x = x[:, :maps[other].shape[1]]
                pairs.append(compare(x, maps[other]))
                if ctx.needs_input_grad[3 + index]:
                    kept.append((x - pairs[-1].target).to(features[index].dtype))
            ctx.chains.append(_Chain(features[index].shape, features[index].dtype, windows,
                                     [pair.factor for pair in pairs]))
            compared += pairs
        ctx.save_for_backward(*kept)
        return _weighted([pair.term for pair in compared],
                         [ctx.weight * pair.weight for pair in compared])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        kept, parts = iter(ctx.saved_tensors), []
        for index, chain in enumerate(ctx.chains):
            if ctx.needs_input_grad[3 + index]:
                differences = [next(kept) for _ in chain.factors]
                parts += [(index, *part) for part in _gathered(chain, differences)]
        factors = _times(grad, [ctx.weight * factor for *_, factor in parts])
        grads: List[Optional[Tensor]] = [None] * (len(ctx.needs_input_grad) - 3)
        for (index, x, window, _), factor in zip(parts, factors):
            chain, before = ctx.chains[index], grads[index]
            x = _unpooled(x * factor, window, chain.shape).to(chain.dtype)
            grads[index] = x if before is None else before + x
        return (None, None, None, *grads)


def _gathered(chain: _Chain, differences: Sequence[Tensor]) \
        -> Iterator[Tuple[Tensor, Optional[Size], float]]:
    """The gradients of all sizes brought to the first one, from small to large.

    Yields:
        tuple: A gradient but for its factor, the window that it has yet to be spread over (None:
        those of adaptive pooling), and the factor.
    """
    window: Optional[Size] = None  # nothing gathered so far
    x, factor = differences[0], 0.
    for difference, step, own in reversed(list(zip(differences, chain.windows, chain.factors))):
        difference = at_least_float32(difference)
        missing = chain.shape[1] - difference.shape[1]  # where the deep map is narrower
        difference = F.pad(difference, (0, 0, 0, 0, 0, missing)) if missing else difference
        if step is None:
            yield difference, None, own
            continue
        if window:
            difference = torch.add(difference, spread(x, *window), alpha=factor / own)
        x, window, factor = difference, step, own / (step[0] * step[1])
    if window:
        yield x, window, factor


def _unpooled(x: Tensor, window: Optional[Size], shape: torch.Size) -> Tensor:
    if window:
        return spread(x, *window)
    return torch.ops.aten._adaptive_avg_pool2d_backward(x, x.new_empty(shape))  # shape is read


def inter_l2(features: Sequence[Tensor], deeper: Sequence[range], compare: Compare,
             weight: float) -> Tensor:
    """``weight`` times the mean over pairs of layers of the weighted terms of ``compare``.

    Args:
        features (Sequence[Tensor]): ``[N, C, H, W]`` each, from shallow to deep. As the deep one
            of a pair none gets a gradient.
        deeper (Sequence[range]): For each shallow one the numbers of those that teach it.
        compare (Callable): Called with a pooled map ``[N, K, h, w]`` and a deep map
            ``[N, C, h, w]``, K at most C.
        weight (float): The loss's.
    """
    return _Inter.apply(compare, tuple(deeper), weight, *features)
