"""Squared distance between two feature maps, docs/mlp.md."""
from typing import Callable

import torch
from mmrazor.registry import MODELS
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ...errors import ConfigError, number
from .precision import at_least_float32

HALF = {torch.float16, torch.bfloat16}


class _SquaredDistance(torch.autograd.Function):
    """``weight * sum((student - teacher)^2)``; only the difference is kept for backward.

    Written with plain operators, autograd would also keep what the teacher and the casts need.
    What is in half precision is widened and rounded inside operators, with no cast of its own.
    """

    @staticmethod
    def forward(ctx, student: Tensor, teacher: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        # Kept in the student's dtype, to which the gradient is rounded in any case.
        ctx.save_for_backward(_rounded(torch.sub, student, teacher))
        with torch.autocast(student.device.type, enabled=False):  # which would cast both
            # In half precision the sum overflows and small differences round to zero.
            return F.mse_loss(student, at_least_float32(teacher), reduction='sum') * weight

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        diff, = ctx.saved_tensors
        scale = grad * (2 * ctx.weight)
        # Of one dimension, or in half precision it would be rounded first.
        return _rounded(torch.mul, diff, scale.view(1)), None, None


def _rounded(operator: Callable, x: Tensor, other: Tensor) -> Tensor:
    """The result in the dtype of ``x``."""
    return operator(x, other) if x.dtype not in HALF else \
        operator(x, other, out=torch.empty_like(x))


def feature_l2(student: Tensor, teacher: Tensor, weight: float = 1.) -> Tensor:
    """Sum of the squared differences over everything, divided by the batch.

    Args:
        student (Tensor): ``[N, ...]``, of any floating dtype.
        teacher (Tensor): The same shape. Never gets a gradient.
        weight (float): Times the result. Defaults to 1.

    Returns:
        Tensor: A scalar, float32 for half-precision inputs.
    """
    _check(student, teacher)
    return _SquaredDistance.apply(student, teacher.detach(), weight / len(student))


def _check(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ConfigError(
            f'FeatureL2Loss: the student feature is {tuple(student.shape)}, the teacher feature '
            f'{tuple(teacher.shape)}; expected one shape (a connector changes channels)')


@MODELS.register_module()
class FeatureL2Loss(nn.Module):
    """``loss_weight * sum((F_s - F_t)^2) / N``.

    Args:
        loss_weight (float): alpha in docs/mlp.md. Defaults to 1.0.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.losses import FeatureL2Loss
        >>> student, teacher = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
        >>> FeatureL2Loss(loss_weight=0.5)(student, teacher)  # 0.5 * (2 * 3 * 4 * 4) / 2
        tensor(24.)
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = number('FeatureL2Loss: loss_weight', loss_weight)

    def forward(self, s_feature: Tensor, t_feature: Tensor) -> Tensor:
        """See :func:`feature_l2`.

        Args:
            s_feature (Tensor): ``[N, C, H, W]``, the student's after its connector.
            t_feature (Tensor): ``[N, C, H, W]``, the teacher's.
        """
        return feature_l2(s_feature, t_feature, self.loss_weight)


def feature_mse(student: Tensor, teacher: Tensor, weight: float = 1.) -> Tensor:
    """Mean of the squared differences over all elements.

    Args:
        student (Tensor): ``[N, ...]``, of any floating dtype.
        teacher (Tensor): The same shape. Never gets a gradient.
        weight (float): Times the result. Defaults to 1.

    Returns:
        Tensor: A scalar, float32 for half-precision inputs.
    """
    _check(student, teacher)
    if HALF & {student.dtype, teacher.dtype}:
        return _SquaredDistance.apply(student, teacher.detach(), weight / student.numel())
    if student.ndim == 4 and not student.is_contiguous():
        # As [N, H, W, C]: its gradient is contiguous, and that is channels_last of [N, C, H, W].
        student, teacher = student.permute(0, 2, 3, 1), teacher.permute(0, 2, 3, 1)
    loss = F.mse_loss(student, teacher.detach())
    return loss if weight == 1 else weight * loss


@MODELS.register_module()
class FeatureMSELoss(nn.Module):
    """``loss_weight * mean((F_s - F_t)^2)``.

    Args:
        loss_weight (float): Defaults to 1.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.losses import FeatureMSELoss
        >>> student, teacher = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 2.)
        >>> FeatureMSELoss(loss_weight=0.5)(student, teacher)  # 0.5 * 2^2
        tensor(2.)
    """

    def __init__(self, loss_weight: float = 1.) -> None:
        super().__init__()
        self.loss_weight = number('FeatureMSELoss: loss_weight', loss_weight)

    def forward(self, s_feature: Tensor, t_feature: Tensor) -> Tensor:
        """See :func:`feature_mse`."""
        return feature_mse(s_feature, t_feature, self.loss_weight)
