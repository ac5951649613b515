"""A student that teaches itself, through links."""
from typing import List, Optional

from mmengine.structures import BaseDataElement
from mmrazor.models.algorithms import SelfDistill
from mmrazor.models.algorithms.base import LossResults
from mmrazor.registry import MODELS
from torch import Tensor

from ...errors import ConfigError
from ..distillers import LinkDistiller
from ..distillers.step_checks import check_own_losses
from .for_student import ForStudent, check_kinds, prepare


@MODELS.register_module()
class TeacherFreeDistill(ForStudent, SelfDistill):
    """``SelfDistill`` with links: the student's features are recorded once and nothing is added.

    Args:
        distiller (dict): Config of a ``LinkDistiller`` whose links name places in the student.
        module_inplace (bool): False turns ``inplace`` off in every module of the student as
            MMRazor does. Defaults to True: only layers that would overwrite a recorded feature
            are changed.
        student_channels_last (bool): Run the student in the channels_last memory format, which
            some processors and GPUs gain by. Defaults to False.

    Examples:
        >>> stages = ['backbone.layer2', 'backbone.layer3', 'backbone.layer4']
        >>> model = dict(
        ...     _scope_='mmrazor', type='TeacherFreeDistill',
        ...     architecture=dict(
        ...         cfg_path='mmpretrain::resnet/resnet18_8xb32_in1k.py', pretrained=False),
        ...     distiller=dict(type='LinkDistiller', links=dict(
        ...         loss_intra=dict(student=stages, loss=dict(
        ...             type='TfFDIntraLoss', form='released', loss_weight=8e-4)),
        ...         loss_inter=dict(student=stages, loss=dict(
        ...             type='TfFDInterLoss', form='released', loss_weight=5e-4)))))
    """

    def __init__(self, distiller: dict, module_inplace: bool = True,
                 student_channels_last: bool = False, **kwargs) -> None:
        check_kinds(distiller, kwargs.get('architecture'))
        super().__init__(distiller=distiller, module_inplace=module_inplace, **kwargs)
        prepare(self, student_channels_last)
        if not isinstance(self.distiller, LinkDistiller):
            raise ConfigError('TeacherFreeDistill: distiller is a LinkDistiller, found '
                              f'{type(self.distiller).__name__}')

    def loss(self,
             batch_inputs: Tensor,
             data_samples: Optional[List[BaseDataElement]] = None) -> LossResults:
        """The student's own losses and the distiller's."""
        losses = super().loss(batch_inputs, data_samples)
        check_own_losses(self.student, {name: value for name, value in losses.items()
                                        if name.startswith('student.')})
        for recorders in (self.distiller.teacher_recorders, self.distiller.student_recorders):
            for recorder in recorders.recorders.values():
                recorder.reset_data_buffer()  # or features would live on until the next step
        return losses
