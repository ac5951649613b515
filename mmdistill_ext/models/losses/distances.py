"""Distances D(student, teacher) between two feature maps of one shape ``[N, C, H, W]``.

Plain functions that give one number, in float32 at least, whatever the maps are in. The side that
teaches is detached by the caller.
"""
import torch
from torch import Tensor
from torch.nn import functional as F

from .feature_l2 import feature_l2
from .precision import at_least_float32


def attention(student: Tensor, teacher: Tensor) -> Tensor:
    """AT (Zagoruyko and Komodakis, ICLR 2017): mean squared difference of the attention maps.

    The map of a sample is the mean of its squared channels, as a vector of unit length.
    """

    def attend(x: Tensor) -> Tensor:
        return F.normalize(at_least_float32(x).square().mean(1).flatten(1), dim=1)

    return F.mse_loss(attend(student), attend(teacher))


def similarity(student: Tensor, teacher: Tensor) -> Tensor:
    """SP (Tung and Mori, ICCV 2019): how alike the samples of the batch are to each other.

    ``||G_s - G_t||^2 / N^2`` where G are the ``[N, N]`` inner products of the flattened samples,
    each row of unit length.
    """
    return F.mse_loss(_gram(student.flatten(1)), _gram(teacher.flatten(1)))


def channel_correlation(student: Tensor, teacher: Tensor) -> Tensor:
    """ICKD (Liu et al., ICCV 2021): how the channels of a sample correlate with each other.

    ``||G_s - G_t||^2 / C``, averaged over the samples, where G are the ``[C, C]`` inner products
    of a sample's channels, each row of unit length (as in the authors' code).
    """
    return feature_l2(_gram(student.flatten(2)), _gram(teacher.flatten(2))) / student.shape[1]


def _gram(rows: Tensor) -> Tensor:
    """``[..., K, K]`` inner products of ``[..., K, D]``, each row of unit length."""
    with torch.autocast(rows.device.type, enabled=False):  # which would multiply in half precision
        rows = at_least_float32(rows)
        return F.normalize(rows @ rows.transpose(-1, -2), dim=-1)


DISTANCES = dict(l2=feature_l2, at=attention, sp=similarity, ickd=channel_correlation)
