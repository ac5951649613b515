"""How the outputs of two heads are compared in FCFD, for the three families of heads.

Each function returns a dict of terms; the target never gets a gradient. Outputs that equal their
target cost nothing.
"""
from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
from mmrazor.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

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


def binary_kl(logits: Tensor, target_logits: Tensor) -> Tensor:
    """``KL(t || sigmoid(x))`` of two classes, element by element.

    Binary cross-entropy with a probability t in the place of the label, less what it costs where
    the two agree.

    Args:
        logits (Tensor): x.
        target_logits (Tensor): Those of t.
    """
    def bce(x):
        return F.binary_cross_entropy_with_logits(x, target, reduction='none')

    target = target_logits.sigmoid()
    return bce(logits) - bce(target_logits)


def soft_varifocal(logits: Tensor, target_logits: Tensor, threshold: float, alpha: float = .75,
                   gamma: float = 2.) -> Tensor:
    """The varifocal loss with a probability t in the place of the IoU, element by element.

    ``t * KL(t || sigmoid(x))`` where t is above ``threshold``, as at a positive, elsewhere
    ``alpha * |t - sigmoid(x)|^gamma * BCE(sigmoid(x), t)``, which is its form for negatives.

    Args:
        logits (Tensor): x.
        target_logits (Tensor): Those of t.
        threshold (float): From 0 to 1.
        alpha (float): Defaults to 0.75.
        gamma (float): Defaults to 2.
    """
    target = target_logits.sigmoid()
    return torch.where(target > threshold, target * binary_kl(logits, target_logits),
                       alpha * soft_focal(logits, target, gamma))


class DenseForm(NamedTuple):
    """How the outputs of a kind of dense head are compared.

    Args:
        classes (str): 'focal' (quality focal loss too), 'varifocal', or 'binary': cross-entropy
            where the target is confident.
        bins (int): 1 where a side of a box is a number; else the entries of the distribution that
            stands for it.
        quality (str, optional): What the third branch estimates: 'centerness' and 'iou' are
            compared where the target is confident, 'obj' (is there an object?) everywhere.
    """
    classes: str = 'focal'
    bins: int = 1
    quality: Optional[str] = None


class DenseOutputs(NamedTuple):
    """What a dense head gives, level by level, with A priors at each position.

    Args:
        classes (list[Tensor]): Logits ``[N, A * classes, H, W]``.
        boxes (list[Tensor]): ``[N, A * 4, H, W]``, in units in which all levels count alike; or
            logits of distributions ``[N, A * 4 * bins, H, W]``.
        quality (list[Tensor], optional): Logits of the third branch ``[N, A, H, W]``.
        form (DenseForm): How they are compared.
    """
    classes: List[Tensor]
    boxes: List[Tensor]
    quality: Optional[List[Tensor]] = None
    form: DenseForm = DenseForm()


def dense_terms(outputs: DenseOutputs,
                target: DenseOutputs,
                score_thr: float = .05,
                gamma: float = 2.) -> Dict[str, Tensor]:
    """The class maps by the loss they are trained with, the boxes where the target is confident.

    The target is confident at a prior where the probability of some class (times that of an
    object, where a branch gives it) is above ``score_thr``. Classes, and the third branch, are
    summed over the priors and divided by the number of confident ones (at least 1), as the focal
    loss is by that of positive ones. A box is the mean of its sides: their squared difference, or
    the KL of their distributions.

    Args:
        outputs (DenseOutputs): Of the head that learns.
        target (DenseOutputs): The same shapes.
        score_thr (float): Defaults to 0.05.
        gamma (float): Defaults to 2.
    """
    form = outputs.form
    priors = [boxes.shape[1] // (4 * form.bins) for boxes in outputs.boxes]

    def rows(maps):
        return at_least_float32(torch.cat([x.permute(0, 2, 3, 1).reshape(-1, x.shape[1] // a)
                                           for x, a in zip(maps, priors)]))

    logits, boxes = rows(outputs.classes), rows(outputs.boxes)
    logits_t, boxes_t = rows(target.classes).detach(), rows(target.boxes).detach()
    probability = logits_t.sigmoid()
    score = probability.amax(1)
    if form.quality:
        quality, quality_t = rows(outputs.quality), rows(target.quality).detach()
        if form.quality == 'obj':
            score = score * quality_t[:, 0].sigmoid()
    confident = score > score_thr
    count = confident.sum().clamp(min=1)

    def where_confident(x):  # masked before it is compared: 0 * inf is NaN, forward and backward
        return torch.where(confident[:, None], x, 0.)

    if form.classes == 'focal':
        cls = soft_focal(logits, probability, gamma)
    elif form.classes == 'varifocal':
        cls = soft_varifocal(logits, logits_t, score_thr, gamma=gamma)
    else:
        cls = binary_kl(where_confident(logits), where_confident(logits_t))
    terms = dict(cls=cls.sum() / count)
    if form.bins == 1:
        terms['box'] = where_confident(boxes - boxes_t).square().sum() / (4 * count)
    else:
        sides, sides_t = (where_confident(x).reshape(-1, form.bins) for x in (boxes, boxes_t))
        terms['box'] = kl_divergence(sides, sides_t) * len(sides) / (4 * count)
    if form.quality == 'obj':
        terms['obj'] = binary_kl(quality, quality_t).sum() / count
    elif form.quality:
        kl = binary_kl(where_confident(quality), where_confident(quality_t))
        terms[form.quality] = kl.sum() / count
    return terms


def pixel_terms(outputs: Tensor, target: Tensor) -> Dict[str, Tensor]:
    """KL of the class logits, mean over all pixels of the batch.

    Args:
        outputs (Tensor): ``[N, classes, H, W]``.
        target (Tensor): The same shape.
    """
    def rows(x):
        return at_least_float32(x).permute(0, 2, 3, 1).flatten(0, 2)

    return dict(kl=kl_divergence(rows(outputs), rows(target.detach())))


class _HeadLoss(nn.Module):
    """All terms of a head's outputs, weighted.

    Args:
        loss_weight (float): Defaults to 1.
    """

    def __init__(self, loss_weight: float = 1.) -> None:
        super().__init__()
        self.loss_weight = number(f'{type(self).__name__}: loss_weight', loss_weight)

    def _weighted(self, terms: Dict[str, Tensor]) -> Dict[str, Tensor]:
        return {name: self.loss_weight * value for name, value in terms.items()}


@MODELS.register_module()
class RoIAnswerLoss(_HeadLoss):
    """See :func:`roi_terms`.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.fcfd import RoIAnswerLoss
        >>> logits, deltas = torch.zeros(5, 3), torch.zeros(5, 4)  # five proposals, two classes
        >>> RoIAnswerLoss(loss_weight=0.5)((logits, deltas), (logits, deltas + 2))
        {'cls': tensor(0.), 'box': tensor(2.)}
    """

    def forward(self, outputs, target) -> Dict[str, Tensor]:
        return self._weighted(roi_terms(outputs, target))


@MODELS.register_module()
class DenseAnswerLoss(_HeadLoss):
    """See :func:`dense_terms`.

    Args:
        loss_weight (float): Defaults to 1.
        score_thr (float): From which probability on the teacher's boxes count. Defaults to 0.05,
            what mmdet's detectors call a detection.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.fcfd import DenseAnswerLoss
        >>> from mmdistill_ext.models.fcfd.head_losses import DenseOutputs
        >>> logits, boxes = [torch.full((2, 3, 8, 8), 9.)], [torch.zeros(2, 4, 8, 8)]  # one level
        >>> target = DenseOutputs(logits, [boxes[0] + 2])
        >>> terms = DenseAnswerLoss()(DenseOutputs(logits, boxes), target)
        >>> terms['cls'].item(), terms['box'].item()
        (0.0, 4.0)
    """

    def __init__(self, loss_weight: float = 1., score_thr: float = .05) -> None:
        super().__init__(loss_weight)
        self.score_thr = number('DenseAnswerLoss: score_thr', score_thr)

    def forward(self, outputs: DenseOutputs, target: DenseOutputs) -> Dict[str, Tensor]:
        return self._weighted(dense_terms(outputs, target, self.score_thr))


@MODELS.register_module()
class PixelAnswerLoss(_HeadLoss):
    """See :func:`pixel_terms`.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.fcfd import PixelAnswerLoss
        >>> logits = torch.zeros(2, 3, 8, 8)  # three classes
        >>> PixelAnswerLoss()(logits, logits + 1)  # the softmax of both is the same
        {'kl': tensor(0.)}
    """

    def forward(self, outputs: Tensor, target: Tensor) -> Dict[str, Tensor]:
        return self._weighted(pixel_terms(outputs, target))
