"""Squared distance between two feature maps, docs/mlp.md."""
import torch
from mmrazor.registry import MODELS
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ...errors import ConfigError, number


class _SquaredDistance(torch.autograd.Function):
    """``sum((student - teacher)^2) / N``; only the difference is kept for backward.

    Written with plain operators, autograd would also keep what the teacher and the casts need.
    """

    @staticmethod
    def forward(ctx, student: Tensor, teacher: Tensor) -> Tensor:
        # In half precision the sum overflows and small differences round to zero.
        compute_dtype = torch.promote_types(
            torch.promote_types(student.dtype, teacher.dtype), torch.float32)
        diff = student.to(compute_dtype) - teacher
        # Kept in the student's dtype, to which the gradient is rounded in any case.
        ctx.save_for_backward(diff.to(student.dtype))
        ctx.compute_dtype = compute_dtype
        return diff.square().sum() / len(student)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        diff, = ctx.saved_tensors
        return (diff.to(ctx.compute_dtype) * (grad * 2 / len(diff))).to(diff.dtype), None


def feature_l2(student: Tensor, teacher: Tensor) -> Tensor:
    """Sum of the squared differences over everything, divided by the batch.

    Args:
        student (Tensor): ``[N, ...]``, of any floating dtype.
        teacher (Tensor): The same shape. Never gets a gradient.

    Returns:
        Tensor: A scalar, float32 for half-precision inputs.
    """
    if student.shape != teacher.shape:
        raise ConfigError(
            f'FeatureL2Loss: the student feature is {tuple(student.shape)}, the teacher feature '
            f'{tuple(teacher.shape)}; expected one shape (a connector changes channels)')
    return _SquaredDistance.apply(student, teacher.detach())


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
        return self.loss_weight * feature_l2(s_feature, t_feature)


def feature_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of the squared differences over all elements.

    Args:
        student (Tensor): ``[N, ...]``.
        teacher (Tensor): The same shape. Never gets a gradient.
    """
    return feature_l2(student, teacher) * (len(student) / student.numel())


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
        return self.loss_weight * feature_mse(s_feature, t_feature)
