"""Distances between features in FCFD, docs/fcfd.md."""
from mmrazor.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import number
from .feature_l2 import feature_l2


def feature_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of the squared differences over all elements.

    Args:
        student (Tensor): ``[N, ...]``.
        teacher (Tensor): The same shape. Never gets a gradient.
    """
    return feature_l2(student, teacher) * (len(student) / student.numel())


def pooled(feature: Tensor) -> Tensor:
    """What a classifier sees of a last stage: ``[N, C, H, W] -> [N, C]``, mean of the ReLU."""
    return F.relu(feature).mean((2, 3))


@MODELS.register_module()
class FeatureMSELoss(nn.Module):
    """``loss_weight * mean((F_s - F_t)^2)``.

    Args:
        loss_weight (float): Defaults to 1.
    """

    def __init__(self, loss_weight: float = 1.) -> None:
        super().__init__()
        self.loss_weight = number('FeatureMSELoss: loss_weight', loss_weight)

    def forward(self, s_feature: Tensor, t_feature: Tensor) -> Tensor:
        """See :func:`feature_mse`."""
        return self.loss_weight * feature_mse(s_feature, t_feature)
