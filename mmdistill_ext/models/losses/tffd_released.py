"""Tf-FD as its authors' published code computes it (docs/tffd.md), one layer or one pair each."""
import torch
from torch import Tensor
from torch.nn import functional as F

from .distances import wide
from .tffd_terms import channel_norms

LEAST_NORM = 1e-12  # what a map is divided by at least


@torch.no_grad()
def unit_mean_order(feature: Tensor) -> Tensor:
    """The channels from the most to the least salient, one order for the batch.

    The salience of a channel is ``mean_{n,h,w}(F[n, c, h, w] / max(norm_2(F[n, c]), 1e-12))``.

    Args:
        feature (Tensor): ``[N, C, H, W]``.

    Returns:
        Tensor: ``[C]`` channel numbers.
    """
    norms = channel_norms(feature)
    means = feature.mean((2, 3), dtype=norms.dtype)
    salience = (means / norms.clamp(min=LEAST_NORM)).mean(0)
    return salience.argsort(descending=True, stable=True)  # stable: dead channels tie at 0


def released_intra_layer(feature: Tensor) -> Tensor:
    """``mean((weak - strong)^2)``: the k-th of the upper half and the k-th of the lower half.

    Both halves get the gradient. The middle one of an odd number is left out.

    Args:
        feature (Tensor): ``[N, C, H, W]``.
    """
    order = unit_mean_order(feature)
    half = len(order) // 2
    strong, weak = (wide(feature.index_select(1, channels))
                    for channels in (order[:half], order[-half:]))
    return F.mse_loss(weak, strong)


def released_inter_layer(shallow: Tensor, deep: Tensor) -> Tensor:
    """``mean((F_i - F_j)^2)`` over the first ``min(C_i, C_j)`` channels of both maps.

    Args:
        shallow (Tensor): ``[N, C_i, H, W]``, pooled.
        deep (Tensor): ``[N, C_j, H, W]``. Never gets a gradient.
    """
    width = min(shallow.shape[1], deep.shape[1])
    return F.mse_loss(wide(shallow[:, :width]), wide(deep.detach()[:, :width]))
