"""How the outputs of two dense heads are compared in FCFD.

The target never gets a gradient. Outputs that equal their target cost nothing.
"""
from typing import Dict, List, NamedTuple, Optional, Tuple, Union

import torch
from mmrazor.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from ...errors import number
from ..losses.gradient_kept import gradient_kept
from ..losses.kd import kl_divergence
from ..losses.precision import at_least_float32
from .head_losses import HeadLoss


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

    def rows(self) -> Tuple[Tensor, Tensor]:
        """Logits and box of each prior, of all levels."""
        return self._rows(self.classes), self._rows(self.boxes)

    def quality_rows(self) -> Tensor:
        """The third branch's logit of each prior, ``[priors, 1]``."""
        assert self.quality is not None
        return self._rows(self.quality)

    def _rows(self, maps: List[Tensor]) -> Tensor:
        sides = 4 * self.form.bins
        return at_least_float32(torch.cat([
            x.permute(0, 2, 3, 1).reshape(-1, x.shape[1] * sides // boxes.shape[1])
            for x, boxes in zip(maps, self.boxes)]))


class DenseTarget:
    """What heads are compared with, as all of them need it: computed once.

    It is confident at a prior where the probability of some class (times that of an object, where
    a branch gives it) is above ``score_thr``.

    Args:
        outputs (DenseOutputs): Of the teacher's head.
        score_thr (float): From 0 to 1.
    """

    def __init__(self, outputs: DenseOutputs, score_thr: float) -> None:
        form = outputs.form
        self.score_thr = score_thr
        self.classes, self.boxes = (x.detach() for x in outputs.rows())
        self.probability = self.classes.sigmoid()
        score = self.probability.amax(1)
        if form.quality:
            self.quality = outputs.quality_rows().detach()
            if form.quality == 'obj':
                score = score * self.quality[:, 0].sigmoid()
        self.confident = (score > score_thr)[:, None]
        self.count = self.confident.sum().clamp(min=1)

    def where_confident(self, x: Tensor) -> Tensor:
        """To be masked before it is compared: 0 * inf is NaN, forward and backward."""
        return torch.where(self.confident, x, 0.)


def dense_terms(outputs: DenseOutputs, target: DenseTarget, gamma: float = 2.) -> Dict[str, Tensor]:
    """The class maps by the loss they are trained with, the boxes where the target is confident.

    Classes, and the third branch, are summed over the priors and divided by the number of
    confident ones (at least 1), as the focal loss is by that of positive ones. A box is the mean of
    its sides: their squared difference, or the KL of their distributions.

    Args:
        outputs (DenseOutputs): Of the head that learns.
        target (DenseTarget): Of the same shapes.
        gamma (float): Defaults to 2.
    """
    form, count, where_confident = outputs.form, target.count, target.where_confident

    def cls(logits):
        if form.classes == 'focal':
            return soft_focal(logits, target.probability, gamma).sum()
        if form.classes == 'varifocal':
            return soft_varifocal(logits, target.classes, target.score_thr, gamma=gamma).sum()
        return binary_kl(where_confident(logits), where_confident(target.classes)).sum()

    logits, boxes = outputs.rows()
    terms = dict(cls=gradient_kept(cls, logits) / count)
    if form.bins == 1:
        terms['box'] = where_confident(boxes - target.boxes).square().sum() / (4 * count)
    else:
        sides, sides_t = (where_confident(x).reshape(-1, form.bins) for x in (boxes, target.boxes))
        terms['box'] = kl_divergence(sides, sides_t) * len(sides) / (4 * count)
    if form.quality == 'obj':
        terms['obj'] = binary_kl(outputs.quality_rows(), target.quality).sum() / count
    elif form.quality:
        kl = binary_kl(where_confident(outputs.quality_rows()), where_confident(target.quality))
        terms[form.quality] = kl.sum() / count
    return terms


@MODELS.register_module()
class DenseAnswerLoss(HeadLoss):
    """See :func:`dense_terms`.

    Args:
        loss_weight (float): Defaults to 1.
        score_thr (float): From which probability on the teacher's boxes count. Defaults to 0.05,
            what mmdet's detectors call a detection.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.fcfd import DenseAnswerLoss
        >>> from mmdistill_ext.models.fcfd.dense_loss import DenseOutputs
        >>> logits, boxes = [torch.full((2, 3, 8, 8), 9.)], [torch.zeros(2, 4, 8, 8)]  # one level
        >>> target = DenseOutputs(logits, [boxes[0] + 2])
        >>> terms = DenseAnswerLoss()(DenseOutputs(logits, boxes), target)
        >>> terms['cls'].item(), terms['box'].item()
        (0.0, 4.0)
    """

    def __init__(self, loss_weight: float = 1., score_thr: float = .05) -> None:
        super().__init__(loss_weight)
        self.score_thr = number('DenseAnswerLoss: score_thr', score_thr)

    def prepared(self, target: DenseOutputs) -> DenseTarget:
        """A target that several outputs are compared with."""
        return DenseTarget(target, self.score_thr)

    def forward(self, outputs: DenseOutputs,
                target: Union[DenseOutputs, DenseTarget]) -> Dict[str, Tensor]:
        if isinstance(target, DenseOutputs):
            target = self.prepared(target)
        return self.weighted(dense_terms(outputs, target))
