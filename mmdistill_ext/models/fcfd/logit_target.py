"""The teacher's logits, which the logits of several paths are compared with."""
from functools import lru_cache
from inspect import signature
from typing import Callable, Dict, List, Optional, Tuple, Union

import torch
from mmengine.structures import BaseDataElement
from mmrazor.models.losses import KLDivergence
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import ConfigError
from ..losses.precision import at_least_float32


class LogitTarget:
    """Logits that are compared with more than once: what a KL needs of them is computed once.

    Args:
        logits (Tensor): ``[N, classes]``, without gradient.
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = at_least_float32(logits)
        self._soft: Dict[float, Tuple[Tensor, Tensor]] = {}

    def soft(self, tau: float) -> Tuple[Tensor, Tensor]:
        """``p = softmax(logits / tau)`` and ``p * log(p)``."""
        if tau not in self._soft:
            p = F.softmax(_over(self.logits, tau), dim=1)
            self._soft[tau] = p, torch.xlogy(p, p)
        return self._soft[tau]


class TargetKL(KLDivergence):
    """MMRazor's ``KLDivergence``, which also takes a :class:`LogitTarget`."""

    def forward(self, preds_S: Tensor, preds_T: Union[Tensor, LogitTarget]) -> Tensor:
        """``tau^2 * KL(softmax(T / tau) || softmax(S / tau))``, the mean over the batch."""
        target = preds_T if isinstance(preds_T, LogitTarget) else LogitTarget(preds_T.detach())
        p, p_log_p = target.soft(self.tau)
        divergence = (p_log_p - p * F.log_softmax(_over(preds_S, self.tau), dim=1)).sum()
        return divergence * (self.loss_weight * self.tau**2 / len(preds_S))


def _over(logits: Tensor, tau: float) -> Tensor:
    return logits if tau == 1 else logits / tau


def with_targets(loss: nn.Module) -> nn.Module:
    """The same loss, in a form that takes a :class:`LogitTarget` if there is one."""
    if type(loss) is not KLDivergence or loss.reduction != 'batchmean' or not loss.teacher_detach:
        return loss
    return TargetKL(loss.tau, loss.reduction, loss.loss_weight)


def compare(loss: nn.Module, student: Tensor, target: LogitTarget,
            data_samples: Optional[List[BaseDataElement]]) -> Tensor:
    """A loss between logits, with the labels where it takes them.

    Args:
        loss (nn.Module): Of :func:`with_targets`.
        student (Tensor): ``[N, classes]``.
        target (LogitTarget): What they should be like.
        data_samples (list[BaseDataElement]): Hold the labels.
    """
    student = at_least_float32(student)
    if isinstance(loss, TargetKL):
        return loss(student, target)
    if not _takes_labels(type(loss).forward):
        return loss(student, target.logits)
    assert data_samples is not None
    if 'gt_score' in data_samples[0]:
        raise ConfigError(f'{type(loss).__name__} needs one label an image, and batch augmentation '
                          '(train_cfg.augments of the student) mixes them; leave one out')
    return loss(student, target.logits, gt_labels=torch.cat([s.gt_label for s in data_samples]))


@lru_cache(maxsize=None)
def _takes_labels(forward: Callable) -> bool:
    return 'gt_labels' in signature(forward).parameters
