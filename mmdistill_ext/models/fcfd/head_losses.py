"""How the outputs of two RoI heads, or two segmentation heads, are compared in FCFD.

Each function returns a dict of terms; the target never gets a gradient. Outputs that equal their
target cost nothing.
"""
from typing import Dict, Tuple

from mmrazor.registry import MODELS
from torch import Tensor, nn

from ...errors import number
from ..losses.feature_l2 import feature_mse
from ..losses.kd import kl_divergence
from ..losses.precision import at_least_float32


def roi_terms(outputs: Tuple[Tensor, Tensor], target: Tuple[Tensor, Tensor]) -> Dict[str, Tensor]:
    """KL of the class logits (mean over the proposals), MSE of the box deltas; 0 without proposals.

    Args:
        outputs (tuple[Tensor, Tensor]): Class logits ``[R, classes + 1]``, deltas ``[R, 4]`` or
            ``[R, 4 * classes]``.
        target (tuple[Tensor, Tensor]): The same shapes.
    """
    (logits, deltas), (logits_t, deltas_t) = outputs, target
    if len(logits) == 0:
        return dict(cls=at_least_float32(logits).sum(), box=at_least_float32(deltas).sum())
    return dict(cls=kl_divergence(at_least_float32(logits), at_least_float32(logits_t.detach())),
                box=feature_mse(deltas, deltas_t))


def pixel_terms(outputs: Tensor, target: Tensor) -> Dict[str, Tensor]:
    """KL of the class logits, mean over all pixels of the batch.

    Args:
        outputs (Tensor): ``[N, classes, H, W]``.
        target (Tensor): The same shape.
    """
    def rows(x):
        return at_least_float32(x).permute(0, 2, 3, 1).flatten(0, 2)

    return dict(kl=kl_divergence(rows(outputs), rows(target.detach())))


class HeadLoss(nn.Module):
    """All terms of a head's outputs, weighted.

    Args:
        loss_weight (float): Defaults to 1.
    """

    def __init__(self, loss_weight: float = 1.) -> None:
        super().__init__()
        self.loss_weight = number(f'{type(self).__name__}: loss_weight', loss_weight)

    def weighted(self, terms: Dict[str, Tensor]) -> Dict[str, Tensor]:
        return {name: self.loss_weight * value for name, value in terms.items()}


@MODELS.register_module()
class RoIAnswerLoss(HeadLoss):
    """See :func:`roi_terms`.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.fcfd import RoIAnswerLoss
        >>> logits, deltas = torch.zeros(5, 3), torch.zeros(5, 4)  # five proposals, two classes
        >>> RoIAnswerLoss(loss_weight=0.5)((logits, deltas), (logits, deltas + 2))
        {'cls': tensor(0.), 'box': tensor(2.)}
    """

    def forward(self, outputs, target) -> Dict[str, Tensor]:
        return self.weighted(roi_terms(outputs, target))


@MODELS.register_module()
class PixelAnswerLoss(HeadLoss):
    """See :func:`pixel_terms`.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.fcfd import PixelAnswerLoss
        >>> logits = torch.zeros(2, 3, 8, 8)  # three classes
        >>> PixelAnswerLoss()(logits, logits + 1)  # the softmax of both is the same
        {'kl': tensor(0.)}
    """

    def forward(self, outputs: Tensor, target: Tensor) -> Dict[str, Tensor]:
        return self.weighted(pixel_terms(outputs, target))
