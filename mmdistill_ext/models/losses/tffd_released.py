"""Tf-FD as its authors' published code computes it (docs/tffd.md)."""
from itertools import accumulate
from typing import List, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .tffd_l2 import Compared, halves_l2, inter_l2
from .tffd_terms import channel_norms, deeper_of, halves

LEAST_NORM = 1e-12  # what a map is divided by at least


@torch.no_grad()
def unit_mean_orders(features: Sequence[Tensor]) -> List[Tensor]:
    """The channels of each layer from the most to the least salient, one order for the batch.

    The salience of a channel is ``mean_{n,h,w}(F[n, c, h, w] / max(norm_2(F[n, c]), 1e-12))``.

    Args:
        features (Sequence[Tensor]): ``[N, C, H, W]`` each.

    Returns:
        list[Tensor]: ``[C]`` channel numbers each.
    """
    norms = torch.cat([channel_norms(feature) for feature in features], 1)
    means = torch.cat([feature.mean((2, 3), dtype=norms.dtype) for feature in features], 1)
    saliences = (means / norms.clamp(min=LEAST_NORM)).mean(0)
    ends = accumulate(feature.shape[1] for feature in features)
    return [saliences[end - feature.shape[1]:end].argsort(descending=True, stable=True)
            for feature, end in zip(features, ends)]  # stable: dead channels tie at 0


def released_intra_layers(features: Sequence[Tensor], weight: float = 1.) -> Tensor:
    """``mean((weak - strong)^2)``, ``weight`` times the mean over the layers.

    The k-th of the upper half and the k-th of the lower half are compared, and both get the
    gradient. The middle one of an odd number is left out.

    Args:
        features (Sequence[Tensor]): ``[N, C, H, W]`` each.
        weight (float): Defaults to 1.
    """
    pairs = [halves(order.expand(len(feature), -1))
             for feature, order in zip(features, unit_mean_orders(features))]
    compared = [channels.numel() // 2 * feature.shape[2:].numel()
                for feature, channels in zip(features, pairs)]
    return halves_l2(features, pairs, [weight / (len(features) * count) for count in compared],
                     both=True)


def released_inter_layers(features: Sequence[Tensor], pairs: str = 'dense',
                          weight: float = 1.) -> Tensor:
    """``mean((F_i - F_j)^2)`` over the first ``min(C_i, C_j)`` channels, ``weight`` times the mean
    over the pairs.

    Args:
        features (Sequence[Tensor]): ``[N, C, H, W]`` each, from shallow to deep. As the deep one
            of a pair none gets a gradient.
        pairs (str): 'dense' for all pairs, 'residual' for neighbours.
        weight (float): Defaults to 1.
    """
    return inter_l2(features, deeper_of(len(features), pairs), _to_first, weight)


def _to_first(shallow: Tensor, deep: Tensor) -> Compared:
    target = deep[:, :shallow.shape[1]]
    return Compared(F.mse_loss(shallow, target), 1., target, 2 / shallow.numel())
