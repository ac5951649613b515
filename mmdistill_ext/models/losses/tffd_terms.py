"""Tf-FD as the paper's equations have it (docs/tffd.md)."""
from typing import Callable, List, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .feature_l2 import feature_l2
from .precision import at_least_float32
from .tffd_l2 import Compared, halves_l2, inter_l2
from .window_mean import pooled, windows_between

Distance = Callable[[Tensor, Tensor], Tensor]


def channel_norms(feature: Tensor, p: float = 2, over: Tuple[int, ...] = (2, 3)) -> Tensor:
    """The salience of channels: the l_p norm of their maps.

    Args:
        feature (Tensor): ``[N, C, H, W]``.
        p (float): Which norm. Defaults to 2.
        over (tuple[int]): Dimensions. Defaults to H and W, which gives ``[N, C]``.
    """
    dtype = torch.float64 if feature.dtype == torch.float64 else torch.float32
    return torch.linalg.vector_norm(feature, p, dim=over, dtype=dtype)


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


def halves(order: Tensor) -> Tensor:
    """``[N, C]`` -> ``[N, 2 * (C // 2)]``: the upper half, then the lower one.

    The middle one of an odd number is left out.
    """
    half = order.shape[1] // 2
    return torch.cat([order[:, :half], order[:, -half:]], 1) if order.shape[1] % 2 else order


def intra_layers(features: Sequence[Tensor], p: float = 2, rank: str = 'sample',
                 distance: Distance = feature_l2, weight: float = 1.) -> Tensor:
    """Equation (2), ``weight`` times the mean over the layers.

    The k-th strongest channel of the upper half teaches the k-th strongest of the lower half.

    Args:
        features (Sequence[Tensor]): ``[N, C, H, W]`` each.
        p (float): Which norm makes a channel strong.
        rank (str): 'sample' or 'batch', see :func:`channel_order`.
        distance (Callable): Of the lower half to the upper one.
        weight (float): Defaults to 1.
    """
    pairs = [halves(channel_order(feature, p, rank)) for feature in features]
    if distance is feature_l2:
        return halves_l2(features, pairs, [weight / (len(x) * len(features)) for x in features],
                         both=False)
    terms = []
    for feature, channels in zip(features, pairs):
        salient, redundant = _take_channels(feature, channels).chunk(2, 1)
        terms.append(distance(redundant, salient.detach()))
    return weight * sum(terms) / len(terms)


def _take_channels(feature: Tensor, channels: Tensor) -> Tensor:
    """``[N, K, H, W]``: for each sample of ``[N, C, H, W]`` the channels in its row of ``[N, K]``.

    Selecting whole maps as rows keeps no index of the maps' size, as ``gather`` does.
    """
    samples = torch.arange(len(feature), device=feature.device)
    rows = (samples[:, None] * feature.shape[1] + channels).flatten()
    return feature.flatten(0, 1).index_select(0, rows).unflatten(0, channels.shape)


def deeper_of(layers: int, pairs: str) -> List[range]:
    """For each layer but the last the numbers of those that teach it.

    Args:
        layers (int): How many, counted from shallow to deep.
        pairs (str): 'dense' for all deeper ones, 'residual' for the next.
    """
    return [range(index + 1, layers if pairs == 'dense' else index + 2)
            for index in range(layers - 1)]


def inter_layers(features: Sequence[Tensor], pairs: str = 'dense',
                 distance: Distance = feature_l2, weight: float = 1.) -> Tensor:
    """Equation (3), ``weight`` times the mean over the pairs.

    Each group of deep channels teaches the shallow map.

    A shallow map is cropped to C_j channels where C_j < C_i, the deep one to C_j // C_i groups.

    Args:
        features (Sequence[Tensor]): ``[N, C, H, W]`` each, from shallow to deep. As the deep one
            of a pair none gets a gradient.
        pairs (str): See :func:`deeper_of`.
        distance (Callable): The mean over the groups is taken of it.
        weight (float): Defaults to 1.
    """
    deeper = deeper_of(len(features), pairs)
    if distance is feature_l2:
        return inter_l2(features, deeper, _to_groups, weight)
    terms = []
    for shallow, others in zip(map(at_least_float32, features), deeper):
        deep = [features[other].detach() for other in others]
        sizes = [x.shape[2:] for x in deep]
        windows = windows_between(shallow.shape[2:], sizes)
        for x, target in zip(pooled(shallow, windows, sizes), deep):
            x = x[:, :target.shape[1]]
            groups = _groups(target, x.shape[1]).unbind(1)
            terms.append(sum(distance(x, group) for group in groups) / len(groups))
    return weight * sum(terms) / len(terms)


def _groups(deep: Tensor, width: int) -> Tensor:
    """``[N, C, H, W]`` -> ``[N, C // width, width, H, W]``."""
    count = deep.shape[1] // width
    return deep[:, :count * width].unflatten(1, (count, width))


def _to_groups(shallow: Tensor, deep: Tensor) -> Compared:
    """The gradient of mean_k |x - g_k|^2 is that of |x - m|^2 with m the mean of the groups."""
    groups, samples = _groups(deep, shallow.shape[1]), len(shallow)
    count = groups.shape[1]
    term = F.mse_loss(shallow.unsqueeze(1).expand_as(groups), groups, reduction='sum')
    mean = groups.mean(1) if count > 1 else groups.squeeze(1)
    return Compared(term, 1 / (count * samples), mean, 2 / samples)
