"""Distances D(student, teacher) between two feature maps of one shape ``[N, C, H, W]``.

Plain functions that give one number. Who gets the gradient is the caller's affair: detach the side
that teaches. Sums are taken in float32 (or float64 for float64 maps), whatever the maps are in.
"""
import torch
from torch import Tensor
from torch.nn import functional as F


class _SumOfSquares(torch.autograd.Function):
    """``sum(x^2)`` that keeps nothing for backward but ``x`` and makes no copy of its size."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.linalg.vector_norm(x, dtype=accumulator(x)).square()

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        x, = ctx.saved_tensors
        return x * (2 * grad)


def accumulator(x: Tensor) -> torch.dtype:
    """The precision in which sums over ``x`` are taken: float32 at least."""
    return torch.promote_types(x.dtype, torch.float32)


def sum_of_squares(x: Tensor) -> Tensor:
    """The sum of the squared elements of ``x``, in float32 at least."""
    return _SumOfSquares.apply(x)


def l2(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared differences, summed over all elements, divided by the batch."""
    return sum_of_squares(student - teacher) / len(student)


def attention(student: Tensor, teacher: Tensor) -> Tensor:
    """AT (Zagoruyko and Komodakis, ICLR 2017): mean squared difference of the attention maps.

    The map of a sample is the mean of its squared channels, as a vector of unit length.
    """

    def maps(x: Tensor) -> Tensor:
        return F.normalize(x.square().mean(1).flatten(1), dim=1)

    student, teacher = _accurate(student, teacher)
    return F.mse_loss(maps(student), maps(teacher))


def similarity(student: Tensor, teacher: Tensor) -> Tensor:
    """SP (Tung and Mori, ICCV 2019): how alike the samples of the batch are to each other.

    ``||G_s - G_t||^2 / N^2`` with G the ``[N, N]`` inner products of the flattened samples, each
    row of unit length.
    """

    def gram(x: Tensor) -> Tensor:
        x = x.flatten(1)
        return F.normalize(x @ x.T, dim=1)

    student, teacher = _accurate(student, teacher)
    return F.mse_loss(gram(student), gram(teacher))


def channel_correlation(student: Tensor, teacher: Tensor) -> Tensor:
    """ICKD (Liu et al., ICCV 2021): how the channels of a sample correlate with each other.

    ``||G_s - G_t||^2 / C``, averaged over the samples, with G the ``[C, C]`` inner products of a
    sample's channels, each row of unit length.
    """

    def gram(x: Tensor) -> Tensor:
        x = x.flatten(2)
        return F.normalize(x @ x.transpose(1, 2), dim=2)

    student, teacher = _accurate(student, teacher)
    return sum_of_squares(gram(student) - gram(teacher)) / student.shape[:2].numel()


def _accurate(*features: Tensor) -> list:
    return [x.to(accumulator(x)) for x in features]


DISTANCES = dict(l2=l2, at=attention, sp=similarity, ickd=channel_correlation)
