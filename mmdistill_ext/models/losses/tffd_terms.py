"""Tf-FD as the paper's equations have it (docs/tffd.md), one layer or one pair of layers each."""
from typing import Callable, Iterator, Sequence, Tuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .distances import wide
from .feature_l2 import feature_l2

Distance = Callable[[Tensor, Tensor], Tensor]


def channel_norms(feature: Tensor, p: float = 2, over: Tuple[int, ...] = (2, 3)) -> Tensor:
    """The salience of channels: the l_p norm of their maps.

    Args:
        feature (Tensor): ``[N, C, H, W]``.
        p (float): Which norm. Defaults to 2.
        over (tuple[int]): Dimensions. Defaults to H and W, which gives ``[N, C]``.
    """
    return torch.linalg.vector_norm(
        feature, p, dim=over, dtype=torch.promote_types(feature.dtype, torch.float32))


@torch.no_grad()
def channel_order(feature: Tensor, p: float = 2, rank: str = 'sample') -> Tensor:
    """The channels from the strongest to the weakest l_p norm.

    Only the norms are sorted, never a map.

    Args:
        feature (Tensor): ``[N, C, H, W]``.
        p (float): Which norm. Defaults to 2.
        rank (str): 'sample' takes norms over H and W, 'batch' over N, H and W.

    Returns:
        Tensor: ``[N, C]`` channel numbers; all rows are equal where ``rank`` is 'batch'.
    """
    norms = channel_norms(feature, p, (2, 3) if rank == 'sample' else (0, 2, 3))
    order = norms.argsort(dim=-1, descending=True, stable=True)  # stable: dead channels tie at 0
    return order.expand(feature.shape[:2])


def take_channels(feature: Tensor, channels: Tensor) -> Tensor:
    """``[N, K, H, W]``: for each sample of ``[N, C, H, W]`` the channels in its row of ``[N, K]``.

    Selecting whole maps as rows keeps no index of the maps' size, as ``gather`` does.
    """
    samples = torch.arange(len(feature), device=feature.device)
    rows = (samples[:, None] * feature.shape[1] + channels).flatten()
    return feature.flatten(0, 1).index_select(0, rows).unflatten(0, channels.shape)


def intra_layer(feature: Tensor, p: float, rank: str, distance: Distance) -> Tensor:
    """The term of one layer in equation (2): the k-th strongest channel of the upper half teaches
    the k-th strongest of the lower half. The middle one of an odd number is left out."""
    order = channel_order(feature, p, rank)
    half = feature.shape[1] // 2
    salient = take_channels(feature.detach(), order[:, :half])
    redundant = take_channels(feature, order[:, -half:])
    return distance(redundant, salient)


class _WindowMean(torch.autograd.Function):
    """Average pooling in whole windows.

    ``avg_pool2d`` keeps its input for backward, and on CPUs takes several times as long.
    """

    @staticmethod
    def forward(ctx, x: Tensor, rows: int, columns: int) -> Tensor:
        ctx.window = rows, columns
        x = sum(wide(x[:, :, row::rows]) for row in range(rows))
        return sum(x[..., column::columns] for column in range(columns)) / (rows * columns)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        rows, columns = ctx.window
        grad = grad / (rows * columns)
        return grad.repeat_interleave(columns, 3).repeat_interleave(rows, 2), None, None


def pooled_to(feature: Tensor, sizes: Sequence[Tuple[int, int]]) -> Iterator[Tensor]:
    """``feature`` average-pooled to each size in turn, from large to small.

    Where windows fit into each other the next size is pooled from the last: averages of averages
    are the same and cheaper.
    """
    source = feature  # pooled in whole windows so far
    for size in sizes:
        (rows, row_rest), (columns, column_rest) = map(divmod, source.shape[2:], size)
        if row_rest or column_rest:
            yield F.adaptive_avg_pool2d(wide(feature), size)
            continue
        if rows > 1 or columns > 1:
            source = _WindowMean.apply(source, rows, columns)
        yield source


def inter_layer(shallow: Tensor, deep: Tensor, distance: Distance) -> Tensor:
    """The term of one pair in equation (3): each group of deep channels teaches the shallow map.

    Args:
        shallow (Tensor): ``[N, C_i, H, W]``, pooled. Cropped to C_j channels where C_j < C_i.
        deep (Tensor): ``[N, C_j, H, W]``, cropped to C_j // C_i groups. Never gets a gradient.
        distance (Callable): The mean over the groups is taken of it.
    """
    width = min(shallow.shape[1], deep.shape[1])
    count = deep.shape[1] // width
    shallow = shallow[:, :width]
    groups = deep.detach()[:, :count * width].unflatten(1, (count, width))
    if distance is feature_l2:
        # mean_k |x - g_k|^2 = |x - m|^2 + mean_k |g_k - m|^2 with m the mean of the groups:
        # a single difference to keep for backward, the rest is a constant.
        groups = wide(groups)
        mean = groups.mean(1)
        spread = feature_l2(groups, mean[:, None].expand_as(groups)) / count
        return feature_l2(shallow, mean) + spread
    return sum(distance(shallow, group) for group in groups.unbind(1)) / count
