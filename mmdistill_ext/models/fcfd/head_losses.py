"""How two answers of a head are compared in FCFD, for the three kinds of heads.

Each function returns a dict of terms; the target never gets a gradient. An answer that equals its
target costs nothing.
"""
from typing import Dict, List, Tuple

import torch
from mmrazor.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import number
from ..losses.feature_l2 import feature_mse
from ..losses.kd import kl_divergence
from ..losses.precision import at_least_float32


def roi_terms(answer: Tuple[Tensor, Tensor], target: Tuple[Tensor, Tensor]) -> Dict[str, Tensor]:
    """KL of the class logits (mean over the proposals), MSE of the box deltas; 0 without proposals.

    Args:
        answer (tuple[Tensor, Tensor]): Class logits ``[R, classes + 1]``, deltas ``[R, 4]`` or
            ``[R, 4 * classes]``.
        target (tuple[Tensor, Tensor]): The same shapes.
    """
    (logits, deltas), (logits_t, deltas_t) = answer, target
    if len(logits) == 0:
        return dict(cls=at_least_float32(logits).sum(), box=at_least_float32(deltas).sum())
    return dict(cls=kl_divergence(at_least_float32(logits), at_least_float32(logits_t.detach())),
                box=feature_mse(deltas, deltas_t))


def soft_focal(logits: Tensor, target: Tensor, gamma: float = 2.) -> Tensor:
    """``|t - sigmoid(x)|^gamma * BCE(sigmoid(x), t)``, element by element.

    The focal loss (alpha left out) with a probability in the place of the label: where t is 0 or
    1, the first factor is the focal loss's own.

    Args:
        logits (Tensor): x.
        target (Tensor): t, from 0 to 1.
        gamma (float): Defaults to 2.
    """
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
    return (target - logits.sigmoid()).abs().pow(gamma) * bce


def dense_terms(answer: Tuple[List[Tensor], List[Tensor]],
                target: Tuple[List[Tensor], List[Tensor]],
                score_thr: float = .05,
                gamma: float = 2.) -> Dict[str, Tensor]:
    """Soft focal loss of the class maps, MSE of the boxes where the target is confident.

    The target is confident at a prior where the probability of some class is above ``score_thr``.
    The class term is summed over priors and classes and divided by the number of confident
    priors (at least 1), as the focal loss is by that of positive ones.

    Args:
        answer (tuple[list[Tensor], list[Tensor]]): Level by level class logits
            ``[N, A * classes, H, W]`` and boxes ``[N, A * 4, H, W]``, A priors at each position.
        target (tuple[list[Tensor], list[Tensor]]): The same shapes.
        score_thr (float): Defaults to 0.05.
        gamma (float): Defaults to 2.
    """
    priors = [boxes.shape[1] // 4 for boxes in answer[1]]

    def rows(maps):
        return at_least_float32(torch.cat([x.permute(0, 2, 3, 1).reshape(-1, x.shape[1] // a)
                                for x, a in zip(maps, priors)]))

    (logits, boxes), (logits_t, boxes_t) = map(rows, answer), map(rows, target)
    probability = logits_t.detach().sigmoid()
    confident = probability.amax(1) > score_thr
    count = confident.sum().clamp(min=1)
    # Masked before it is squared: 0 * inf is NaN, forward and backward.
    difference = torch.where(confident[:, None], boxes - boxes_t.detach(), 0.)
    box = difference.square().sum() / (4 * count)
    return dict(cls=soft_focal(logits, probability, gamma).sum() / count, box=box)


def pixel_terms(answer: Tensor, target: Tensor) -> Dict[str, Tensor]:
    """KL of the class logits, mean over all pixels of the batch.

    Args:
        answer (Tensor): ``[N, classes, H, W]``.
        target (Tensor): The same shape.
    """
    def rows(x):
        return at_least_float32(x).permute(0, 2, 3, 1).flatten(0, 2)

    return dict(kl=kl_divergence(rows(answer), rows(target.detach())))


class _AnswerLoss(nn.Module):
    """All terms of an answer, weighted.

    Args:
        loss_weight (float): Defaults to 1.
    """

    def __init__(self, loss_weight: float = 1.) -> None:
        super().__init__()
        self.loss_weight = number(f'{type(self).__name__}: loss_weight', loss_weight)

    def _weighted(self, terms: Dict[str, Tensor]) -> Dict[str, Tensor]:
        return {name: self.loss_weight * value for name, value in terms.items()}


@MODELS.register_module()
class RoIAnswerLoss(_AnswerLoss):
    """See :func:`roi_terms`.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.fcfd import RoIAnswerLoss
        >>> logits, deltas = torch.zeros(5, 3), torch.zeros(5, 4)  # five proposals, two classes
        >>> RoIAnswerLoss(loss_weight=0.5)((logits, deltas), (logits, deltas + 2))
        {'cls': tensor(0.), 'box': tensor(2.)}
    """

    def forward(self, answer, target) -> Dict[str, Tensor]:
        return self._weighted(roi_terms(answer, target))


@MODELS.register_module()
class DenseAnswerLoss(_AnswerLoss):
    """See :func:`dense_terms`.

    Args:
        loss_weight (float): Defaults to 1.
        score_thr (float): From which probability on the teacher's boxes count. Defaults to 0.05,
            what mmdet's detectors call a detection.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.fcfd import DenseAnswerLoss
        >>> logits, boxes = [torch.full((2, 3, 8, 8), 9.)], [torch.zeros(2, 4, 8, 8)]  # one level
        >>> terms = DenseAnswerLoss()((logits, boxes), (logits, [boxes[0] + 2]))
        >>> terms['cls'].item(), terms['box'].item()
        (0.0, 4.0)
    """

    def __init__(self, loss_weight: float = 1., score_thr: float = .05) -> None:
        super().__init__(loss_weight)
        self.score_thr = number('DenseAnswerLoss: score_thr', score_thr)

    def forward(self, answer, target) -> Dict[str, Tensor]:
        return self._weighted(dense_terms(answer, target, self.score_thr))


@MODELS.register_module()
class PixelAnswerLoss(_AnswerLoss):
    """See :func:`pixel_terms`.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.fcfd import PixelAnswerLoss
        >>> logits = torch.zeros(2, 3, 8, 8)  # three classes
        >>> PixelAnswerLoss()(logits, logits + 1)  # the softmax of both is the same
        {'kl': tensor(0.)}
    """

    def forward(self, answer: Tensor, target: Tensor) -> Dict[str, Tensor]:
        return self._weighted(pixel_terms(answer, target))
