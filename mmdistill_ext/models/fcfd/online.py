"""Online FCFD: both networks are trained from scratch and learn from each other."""
from typing import List, Optional

from mmengine.structures import BaseDataElement
from mmrazor.models.algorithms.base import LossResults
from mmrazor.registry import MODELS

from ..losses.build import build_loss
from .distill import FCFDDistill
from .features import Record
from .logit_target import LogitTarget, compare, with_targets


@MODELS.register_module()
class FCFDOnline(FCFDDistill):
    """The teacher gets its own task loss and a KL from the student; nothing else reaches it.

    Args:
        loss_teacher_kd (dict): The KL of the teacher's logits to the student's.
        kwargs: All others of ``FCFDDistill``. The teacher is saved with the checkpoints.

    Examples:
        >>> model = dict(
        ...     _scope_='mmrazor', type='FCFDOnline', random_teacher=True,
        ...     architecture=dict(
        ...         cfg_path='mmpretrain::resnet/resnet18_8xb32_in1k.py', pretrained=False),
        ...     teacher=dict(
        ...         cfg_path='mmpretrain::resnet/resnet34_8xb32_in1k.py', pretrained=False))
    """

    def __init__(self, loss_teacher_kd: dict = dict(type='KLDivergence'),  # noqa: B006
                 **kwargs) -> None:
        super().__init__(teacher_trainable=True, **kwargs)
        self.loss_teacher_kd = with_targets(build_loss('loss_teacher_kd', loss_teacher_kd))

    def fcfd_losses(self, student: Record, teacher: Record,
                    data_samples: Optional[List[BaseDataElement]]) -> LossResults:
        """Those of FCFD and the teacher's KL."""
        return dict(
            super().fcfd_losses(student, teacher, data_samples),
            loss_teacher_kd=compare(
                self.loss_teacher_kd, teacher.logits, LogitTarget(student.logits.detach()),
                data_samples))
