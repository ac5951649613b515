"""A frozen teacher that costs no more than it must."""
from contextlib import nullcontext
from typing import Dict, List, Optional, Sequence, Union

import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from mmrazor.models.algorithms import SingleTeacherDistill
from mmrazor.models.algorithms.base import BaseAlgorithm, LossResults
from mmrazor.models.utils import add_prefix
from mmrazor.registry import MODELS
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ...errors import ConfigError
from ..distillers import LinkDistiller
from ..dry_run import dry_run, recorded_places
from ..early_stop import EarlyStop, teacher_reads
from ..inherit import Inheritance
from ..teacher import DTYPES, build_teacher, channels_last, fuse, in_format
from ..teacher_preprocessor import preprocessor_for


@MODELS.register_module()
class LeanTeacherDistill(SingleTeacherDistill):
    """A drop-in for ``SingleTeacherDistill`` and ``FpnTeacherDistill``.

    The teacher runs without gradient up to the last feature that the distiller reads, is loaded
    strictly, and stays out of the checkpoints.

    Args:
        distiller (dict): Config of the distiller, usually a ``LinkDistiller``.
        teacher (dict | BaseModel): Config of the teacher, or a teacher that is built and loaded.
        teacher_ckpt (str, optional): The teacher's checkpoint. Every key must fit.
        random_teacher (bool): Says that a teacher without checkpoint is meant. Defaults to False.
        teacher_trainable (bool): Train the teacher too, on its own losses. Defaults to False.
        teacher_norm_eval (bool): Keep the teacher's norm layers in evaluation mode; False lets
            them normalise by the batch. Defaults to True.
        teacher_fuse_bn (bool, optional): Fold the teacher's BatchNorm into its convolutions, which
            changes rounding and nothing else. Defaults to None: wherever the teacher is frozen
            and not saved.
        teacher_channels_last (bool, optional): Run the teacher in the channels_last memory format.
            Defaults to None: wherever its operators can (mmcv's deformable ones cannot).
        teacher_dtype (str, optional): 'bf16' or 'fp16' to run the teacher in that precision.
        save_teacher (bool): Keep the teacher's weights in the checkpoints. Defaults to False.
        inherit (Sequence[str]): Modules of the student (such as 'neck', 'bbox_head') that start
            from the teacher's weights where names and shapes agree.
        student_trainable (bool): As in ``SingleTeacherDistill``. Defaults to True.
        calculate_student_loss (bool): As in ``SingleTeacherDistill``. Defaults to True.
        teacher_module_inplace (bool): Ignored unless False, which turns ``inplace`` off in every
            module of the teacher as MMRazor does. Defaults to True.
        module_inplace (bool): The same for the student. Defaults to True: only layers that would
            overwrite a recorded feature are changed.
    """

    def __init__(self,
                 distiller: dict,
                 teacher: Union[BaseModel, Dict],
                 teacher_ckpt: Optional[str] = None,
                 random_teacher: bool = False,
                 teacher_trainable: bool = False,
                 teacher_norm_eval: bool = True,
                 teacher_fuse_bn: Optional[bool] = None,
                 teacher_channels_last: Optional[bool] = None,
                 teacher_dtype: Optional[str] = None,
                 save_teacher: bool = False,
                 inherit: Sequence[str] = (),
                 student_trainable: bool = True,
                 calculate_student_loss: bool = True,
                 teacher_module_inplace: bool = True,
                 module_inplace: bool = True,
                 **kwargs) -> None:
        # Not SingleTeacherDistill's own: it loads the teacher without looking at what did not fit.
        BaseAlgorithm.__init__(self, module_inplace=module_inplace, **kwargs)
        if teacher_dtype is not None and teacher_dtype not in DTYPES:
            raise ConfigError(f"teacher_dtype is None, 'bf16' or 'fp16', found {teacher_dtype!r}")
        can_fuse = teacher_norm_eval and not teacher_trainable and not save_teacher
        if teacher_fuse_bn and not can_fuse:
            raise ConfigError('teacher_fuse_bn=True needs teacher_norm_eval=True, '
                              'teacher_trainable=False and save_teacher=False')
        teacher_fuse_bn = can_fuse if teacher_fuse_bn is None else teacher_fuse_bn
        self.teacher_trainable = teacher_trainable
        self.teacher_norm_eval = teacher_norm_eval
        self.teacher_dtype = teacher_dtype
        self.save_teacher = save_teacher or teacher_trainable
        self.student_trainable = student_trainable
        self.calculate_student_loss = calculate_student_loss
        self.distillation_stopped = False  # MMRazor's StopDistillHook sets it

        self.teacher = build_teacher(teacher, teacher_ckpt, random_teacher)
        if self.teacher is self.student:
            raise ConfigError('teacher and student are one object; build a second model, or use '
                              'TeacherFreeDistill for a student that teaches itself')
        if not teacher_module_inplace:
            self.set_module_inplace_false(self.teacher, 'self.teacher')
        self.inheritance = Inheritance(inherit, self.student, self.teacher)
        self.data_preprocessor = preprocessor_for(
            self.data_preprocessor, getattr(self.teacher, 'data_preprocessor', None))

        self.distiller = MODELS.build(distiller)
        if not teacher_trainable:
            self.teacher.eval()
        self.distiller.prepare_from_student(self.student)
        if teacher_fuse_bn:
            fuse(self.teacher, lambda: self.dry_run('teacher'))
        self.teacher.requires_grad_(teacher_trainable)
        self.teacher_channels_last = channels_last(self.teacher, teacher_channels_last)
        if teacher_dtype:
            self.teacher.to(DTYPES[teacher_dtype])
        self.distiller.prepare_from_teacher(self.teacher)
        if not isinstance(self.distiller, LinkDistiller):  # which has done it
            self.dry_run('student'), self.dry_run('teacher')
        self._stop = self._stop_teacher_early()
        self._register_state_dict_hook(_without_teacher)
        self._register_load_state_dict_pre_hook(_own_teacher, with_module=True)

    def dry_run(self, side: str) -> Dict[str, list]:
        """What 'student' or 'teacher' gives at every place that is read, on a tiny input."""
        if isinstance(self.distiller, LinkDistiller):
            return self.distiller.dry_run(getattr(self, side), side)
        places = recorded_places(getattr(self.distiller, f'{side}_recorders'))
        return dry_run(getattr(self, side), places, f'{side}_recorders') if places else {}

    def _stop_teacher_early(self):
        """A context in which the teacher's forward ends after the last feature that is read."""
        reads = self.teacher_reads()
        if reads == []:
            raise ConfigError('the distiller reads nothing from the teacher; give a link a '
                              "'teacher' place, or use TeacherFreeDistill")
        early = reads is not None and not self.teacher_trainable
        return EarlyStop(self.teacher, reads) if early else nullcontext()

    def teacher_reads(self) -> Optional[list]:
        """Recorders of the teacher and how many records each must hold; None for all it gives."""
        return teacher_reads(self.distiller)

    def init_weights(self) -> None:
        """Initialise the student, then take what it inherits from the teacher."""
        super().init_weights()
        self.inheritance.apply()

    def forward(self,
                inputs: Tensor,
                data_samples: Optional[List[BaseDataElement]] = None,
                mode: str = 'tensor',
                teacher_inputs: Optional[Tensor] = None):
        """As in ``BaseAlgorithm``; in 'loss' mode with the batch as the teacher wants it.

        Args:
            inputs (Tensor): [N, C, H, W].
            data_samples (list[BaseDataElement], optional): Annotations.
            mode (str): 'loss', 'predict' or 'tensor'.
            teacher_inputs (Tensor, optional): Where the teacher has a normalisation of its own.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples, teacher_inputs)
        return super().forward(inputs, data_samples, mode)

    def loss(self,
             batch_inputs: Tensor,
             data_samples: Optional[List[BaseDataElement]] = None,
             teacher_inputs: Optional[Tensor] = None) -> LossResults:
        """The student's own losses and the distiller's."""
        losses = dict()
        if not self.distillation_stopped or self.teacher_trainable:
            inputs = batch_inputs if teacher_inputs is None else teacher_inputs
            losses.update(add_prefix(self.run_teacher(inputs, data_samples), 'teacher'))
        student_losses = self.run_student(batch_inputs, data_samples)
        if self.calculate_student_loss:
            losses.update(add_prefix(student_losses, 'student'))
        if not self.distillation_stopped:
            losses.update(add_prefix(self.distiller.compute_distill_losses(), 'distill'))
            self._forget()
        return losses

    def run_teacher(self, inputs: Tensor, data_samples: Optional[list]) -> LossResults:
        """Fill the teacher's recorders. Returns losses where the teacher is trained."""
        self.distiller.set_deliveries_override(False)
        with self.distiller.teacher_recorders, self.distiller.deliveries:
            if self.teacher_trainable:
                return self.teacher(inputs, data_samples, mode='loss')
            no_amp = torch.autocast(inputs.device.type, enabled=False) if self.teacher_dtype \
                else nullcontext()
            inputs = in_format(inputs, self.teacher, self.teacher_channels_last)
            with torch.no_grad(), no_amp, self._stop:
                self.teacher(inputs, data_samples, mode='loss')
        return dict()

    def run_student(self, inputs: Tensor, data_samples: Optional[list]) -> LossResults:
        """Fill the student's recorders and return its own losses."""
        self.distiller.set_deliveries_override(True)
        with self.distiller.student_recorders, self.distiller.deliveries, \
                torch.set_grad_enabled(self.student_trainable and torch.is_grad_enabled()):
            return self.student(inputs, data_samples, mode='loss')

    def _forget(self) -> None:
        """Recorded features would else live on until the next step."""
        for recorders in (self.distiller.teacher_recorders, self.distiller.student_recorders):
            for recorder in recorders.recorders.values():
                recorder.reset_data_buffer()

    def train(self, mode: bool = True):
        """The student follows ``mode``; a frozen teacher only with its norm layers, if asked."""
        BaseAlgorithm.train(self, mode)
        if not self.teacher_trainable:
            self.teacher.eval()
        for module in self.teacher.modules():
            if isinstance(module, _BatchNorm):
                module.train(mode and not self.teacher_norm_eval)
        return self


def _without_teacher(module: LeanTeacherDistill, state_dict: dict, prefix: str, _) -> None:
    """A checkpoint holds of a frozen teacher at most the running statistics that move."""
    if module.save_teacher:
        return
    moving = () if module.teacher_norm_eval else ('running_mean', 'running_var',
                                                  'num_batches_tracked')
    for key in list(state_dict):
        if key.startswith(f'{prefix}teacher.') and key.rsplit('.', 1)[-1] not in moving:
            del state_dict[key]


def _own_teacher(module: LeanTeacherDistill, state_dict: dict, prefix: str, *_) -> None:
    """What a checkpoint lacks of the teacher is not missing: it came from ``teacher_ckpt``."""
    for key, value in module.teacher.state_dict().items():
        state_dict.setdefault(f'{prefix}teacher.{key}', value)
