"""A frozen teacher that costs no more than it must."""
import copy
import logging
from contextlib import nullcontext
from typing import Callable, Dict, Iterable, List, Optional, Sequence, Union

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from mmrazor.models.algorithms import SingleTeacherDistill
from mmrazor.models.algorithms.base import BaseAlgorithm, LossResults
from mmrazor.models.utils import add_prefix
from mmrazor.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_map

from ...errors import ConfigError
from ..distillers import LinkDistiller
from ..distillers.mappings import check_mappings
from ..distillers.step_checks import check_own_losses
from ..teacher.build import DTYPES, build_teacher, in_format, is_headless
from ..teacher.cast_weights import CastWeights
from ..teacher.compiled import CompiledForward, without_numpy_numbers
from ..teacher.early_stop import EarlyStop, Reads, reads_of, run_whole
from ..teacher.first_step import before_first_step
from ..teacher.fuse import fuse
from ..teacher.inherit import Inheritance
from ..teacher.input_size import check_places, one_line_if_size, set_input_size
from ..teacher.options import TeacherOptions
from ..teacher.preprocessor import preprocessor_for
from ..teacher.saving import own_teacher, without_teacher
from ..utils.dry_run import dry_run, recorded_places
from ..utils.memory_format import channels_last, lay_out
from .for_student import ForStudent, check_kinds, prepare


@MODELS.register_module()
class LeanTeacherDistill(ForStudent, SingleTeacherDistill):
    """A drop-in for ``SingleTeacherDistill`` and ``FpnTeacherDistill``.

    The teacher runs without gradient up to the last feature that the distiller reads, is loaded
    strictly, and stays out of the checkpoints.

    Args:
        distiller (dict): Config of the distiller, usually a ``LinkDistiller``.
        teacher (dict | BaseModel): Config of the teacher, or a teacher that is built and loaded.
        teacher_ckpt (str, optional): The teacher's checkpoint. Every key must fit.
        random_teacher (bool): Set to True to train with a randomly initialised teacher on purpose.
            Defaults to False.
        teacher_trainable (bool): Train the teacher too, on its own losses. Defaults to False.
        teacher_norm_eval (bool): Keep the teacher's norm layers in evaluation mode; False lets
            them normalise by the batch. Defaults to True.
        teacher_fuse_bn (bool, optional): Fold the teacher's BatchNorm into its convolutions, which
            changes rounding and nothing else, where one convolution alone feeds a BatchNorm. None
            (default) fuses when the teacher is frozen, is not saved, and fusing does not change the
            recorded features.
        teacher_channels_last (bool, optional): Run the teacher in the channels_last memory format.
            None (default) does so when the operators that run can (mmcv's cannot) and are faster
            in it (grouped convolutions are in half precision only).
        teacher_dtype (str, optional): 'bf16' or 'fp16' to run the teacher in that precision.
        teacher_size (float | tuple[int, int], optional): The size of the teacher's images. A number
            is a factor on the height and width of the batch, rounded to whole patches of a vision
            transformer; a pair is a height and a width in pixels. None (default) leaves the batch
            as it is.
        teacher_compile (bool | dict): Compile the teacher's forward, as far as it is read, into one
            graph; a dict holds arguments of ``torch.compile``, such as
            ``dict(mode='reduce-overhead')`` for CUDA graphs. It is compiled in the first step, and
            once more where the images' size changes. Defaults to False.
        save_teacher (bool): Keep the teacher's weights in the checkpoints. Defaults to False.
        inherit (Sequence[str]): Modules of the student (such as 'neck', 'bbox_head') that start
            from the teacher's weights where names and shapes agree.
        student_channels_last (bool): Run the student in the channels_last memory format, which
            some processors and GPUs gain by. Defaults to False.
        student_trainable (bool): False runs the student without gradient, so that connectors
            train and it does not. Defaults to True.
        calculate_student_loss (bool): As in ``SingleTeacherDistill``. Defaults to True.
        teacher_module_inplace (bool): Ignored unless False, which turns ``inplace`` off in every
            module of the teacher as MMRazor does. Defaults to True.
        module_inplace (bool): The same for the student. Defaults to True: only layers that would
            overwrite a recorded feature are changed.

    Examples:
        >>> model = dict(
        ...     _scope_='mmrazor', type='LeanTeacherDistill',
        ...     architecture=dict(
        ...         cfg_path='mmpretrain::resnet/resnet18_8xb32_in1k.py', pretrained=False),
        ...     teacher=dict(
        ...         cfg_path='mmpretrain::resnet/resnet34_8xb32_in1k.py', pretrained=False),
        ...     teacher_ckpt='resnet34.pth',
        ...     distiller=dict(type='LinkDistiller', links=dict(
        ...         loss_stage4=dict(
        ...             student='backbone.layer4', teacher='backbone.layer4',
        ...             connector='MLPConnector',
        ...             loss=dict(type='FeatureL2Loss', loss_weight=7e-5)))))
    """

    enters_networks = False  # whether it runs parts of a network outside of the network's forward
    option_types = (TeacherOptions, )  # whose fields a config names beside the arguments below

    def __init__(self,
                 distiller: dict,
                 teacher: Union[BaseModel, Dict],
                 inherit: Sequence[str] = (),
                 student_channels_last: bool = False,
                 student_trainable: bool = True,
                 calculate_student_loss: bool = True,
                 module_inplace: bool = True,
                 **kwargs) -> None:
        check_kinds(distiller, kwargs.get('architecture'))
        options = TeacherOptions.take_from(kwargs)
        # Not SingleTeacherDistill's own: it loads the teacher without looking at what did not fit.
        BaseAlgorithm.__init__(self, module_inplace=module_inplace, **kwargs)
        prepare(self, student_channels_last)
        self.teacher_trainable = options.teacher_trainable
        self.teacher_norm_eval = options.teacher_norm_eval
        self.teacher_dtype = options.teacher_dtype
        self.save_teacher = options.is_saved
        self.student_trainable = student_trainable
        if not student_trainable:
            print_log('student_trainable=False: nothing of the student will train',
                      logger='current', level=logging.WARNING)
        self.calculate_student_loss = calculate_student_loss
        self.distillation_stopped = False  # MMRazor's StopDistillHook sets it

        self.teacher = build_teacher(teacher, options.teacher_ckpt, options.random_teacher)
        if self.teacher is self.student:
            raise ConfigError('teacher and student are one object; build a second model, or use '
                              'TeacherFreeDistill for a student that teaches itself')
        if options.teacher_trainable and is_headless(self.teacher):
            raise ConfigError('teacher_trainable=True needs a teacher with a head, found '
                              f'{type(self.teacher).__name__} without one')
        if options.teacher_size is not None:
            if self.enters_networks:
                raise ConfigError(f'teacher_size: {type(self).__name__} runs features of one '
                                  'network through the other, so both need images of one size')
            set_input_size(self.teacher, options.teacher_size)
        self.inheritance = Inheritance(inherit, self.student, self.teacher)  # before it is fused
        own = self.data_preprocessor  # type: ignore[has-type]
        self.data_preprocessor = preprocessor_for(
            own, getattr(self.teacher, 'data_preprocessor', None))
        self.distiller = MODELS.build(distiller)
        check_mappings(self.distiller)
        self._prepare(options)
        self._register_state_dict_hook(without_teacher)
        self._register_load_state_dict_pre_hook(own_teacher, with_module=True)

    def _prepare(self, options: TeacherOptions) -> None:
        """Bring the teacher into the form it trains in, and attach what reads both networks.

        This method owns the order. A subclass adds to four of its steps: ``check_networks``,
        ``outputs_read``, ``modules_in_float32`` and ``attach_recorders``.
        """
        self.check_networks()
        if not options.teacher_module_inplace:
            self.set_module_inplace_false(self.teacher, 'self.teacher')
        if not options.teacher_trainable:
            self.teacher.eval()
        self.distiller.prepare_from_student(self.student)
        if options.may_fuse(self.teacher):  # before it is cast: fusing in half precision loses
            self._fuse_teacher(asked=bool(options.teacher_fuse_bn))
        if not options.teacher_trainable:
            self.teacher.requires_grad_(False)
        self.teacher_channels_last = channels_last(
            self.teacher, options.teacher_channels_last, 'teacher_channels_last',
            options.teacher_dtype, lambda: self.outputs_read('teacher'),
            whole=options.teacher_trainable or reads_of(self.distiller) is None)
        if self.teacher_channels_last and options.teacher_trainable:
            lay_out(self.teacher)  # now: DDP keeps gradients in the layout that it finds
        self._is_new = True
        self.register_forward_pre_hook(before_first_step)
        if options.teacher_dtype == 'bf16':  # now: mmcv's operators that lack it fail below
            self._cast_teacher('bf16')
        self.distiller.prepare_from_teacher(self.teacher)
        if not isinstance(self.distiller, LinkDistiller):  # which has run both
            self.outputs_read('student')
            self.outputs_read('teacher')
        if options.teacher_size is not None:
            check_places(self.distiller)
        if options.teacher_dtype == 'fp16':  # only now: PyTorch 2.1 cannot run it on the CPU
            self._cast_teacher('fp16')
        self.attach_recorders()
        self._run_frozen = self._teacher_forward(options.teacher_compile)
        self.cast_weights = CastWeights(self.teacher)

    def _fuse_teacher(self, asked: bool) -> None:
        plain = copy.deepcopy(self.teacher)
        try:
            fuse(self.teacher, lambda: self.outputs_read('teacher'))
        except ConfigError as error:
            if asked:
                raise
            print_log(f'the teacher is not fused: {error}', logger='current')
            self.teacher = plain

    def _cast_teacher(self, dtype: str) -> None:
        nn.Module.to(self.teacher, DTYPES[dtype])  # mmdet's LD has a `to` for devices only
        for module in self.modules_in_float32():
            module.float()
        self.teacher.eval()  # again, for modules that cache a weight in it (LeViT)

    def _teacher_forward(self, compiled: Union[bool, dict]) -> Callable[..., None]:
        """What runs a frozen teacher, to the last feature that is read."""
        reads = self.teacher_reads()
        if reads == []:
            raise ConfigError('the distiller reads nothing from the teacher; give a link a '
                              "'teacher' place, or use TeacherFreeDistill")
        forward: Callable[..., None] = run_whole
        if reads is not None and not self.teacher_trainable:
            forward = EarlyStop(self.teacher, reads).run
        if compiled is False:
            return forward
        if reads_of(self.distiller) is None:  # what is compiled might not call what they replace
            raise ConfigError(
                f'teacher_compile={compiled!r} is not for deliveries and recorders of functions or '
                'methods; expected links, or ModuleOutputs and ModuleInputs recorders')
        without_numpy_numbers(self.teacher)
        return CompiledForward(forward, compiled)

    # What a subclass may add.

    def check_networks(self) -> None:
        """Raise if student and teacher do not suit each other; neither has run yet."""

    def outputs_read(self, side: str) -> Dict[str, list]:
        """What 'student' or 'teacher' returns at every place that is read, on a tiny input.

        Fusing must not change it.
        """
        if isinstance(self.distiller, LinkDistiller):
            return self.distiller.dry_run(getattr(self, side), side)
        places = recorded_places(getattr(self.distiller, f'{side}_recorders'))
        # MMRazor's DKD reads the labels from what goes into the loss.
        return dry_run(getattr(self, side), places, f'{side}_recorders',
                       in_loss=True) if places else {}

    def modules_in_float32(self) -> Iterable[nn.Module]:
        """Modules of the teacher that ``teacher_dtype`` leaves as they are."""
        return ()

    def attach_recorders(self) -> None:
        """Attach recorders beside the distiller's; both networks are in their final form."""

    def teacher_reads(self) -> Optional[Reads]:
        """Recorders of the teacher, and how many records each must hold; None: its whole forward.

        It only looks: recorders are attached by then.
        """
        return reads_of(self.distiller)

    def teacher_mode(self) -> str:
        """The mode that a frozen teacher is called in."""
        return 'tensor' if is_headless(self.teacher) else 'loss'

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
            if self.student_trainable:
                check_own_losses(self.student, student_losses)
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
            device = next(self.teacher.parameters()).device.type
            no_amp = torch.autocast(device, enabled=False) if self.teacher_dtype \
                else nullcontext()
            inputs = in_format(inputs, self.teacher, self.teacher_channels_last)
            with torch.no_grad(), no_amp, self.cast_weights.used(device), \
                    one_line_if_size(self.teacher, inputs):
                self._run_frozen(self.teacher, inputs, data_samples, mode=self.teacher_mode())
        self._hand_over()
        return dict()

    def run_student(self, inputs: Tensor, data_samples: Optional[list]) -> LossResults:
        """Fill the student's recorders and return its own losses."""
        self.distiller.set_deliveries_override(True)
        sent = not self.distillation_stopped or self.teacher_trainable  # has the teacher run?
        with self.distiller.student_recorders, \
                self.distiller.deliveries if sent else nullcontext(), \
                torch.set_grad_enabled(self.student_trainable and torch.is_grad_enabled()):
            return self.student(inputs, data_samples, mode='loss')

    def _hand_over(self) -> None:
        """MMRazor's losses and connectors want contiguous tensors of the student's precision."""
        for mapping in self.distiller.loss_forward_mappings.values():
            for record in mapping.values():
                if not record.get('from_student', True):
                    recorder = self.distiller.teacher_recorders.get_recorder(record['recorder'])
                    recorder.data_buffer[:] = tree_map(self._plain, recorder.data_buffer)

    def _plain(self, value):
        if not isinstance(value, Tensor):
            return value
        widen = self.teacher_dtype and value.is_floating_point()
        return (value.float() if widen else value).contiguous()

    def _forget(self) -> None:
        """Recorded features would else live on until the next step."""
        for recorders in (self.distiller.teacher_recorders, self.distiller.student_recorders):
            for recorder in recorders.recorders.values():
                recorder.reset_data_buffer()

    def train(self, mode: bool = True):
        """The student follows ``mode``; a frozen teacher only with its norm layers, if asked."""
        BaseAlgorithm.train(self, mode)  # with what a network has to say of it (norm_eval=True)
        norms = [m for m in self.teacher.modules() if isinstance(m, _BatchNorm) and m.training]
        if not self.teacher_trainable:
            # Not flag by flag: some modules do more when their mode changes (LeViT).
            self.teacher.eval()
        for norm in norms:
            norm.train(not self.teacher_norm_eval)
        return self

    def __deepcopy__(self, memo: dict) -> 'LeanTeacherDistill':
        """A copy shares the memory of a frozen teacher's weights: a moving average is a copy.

        Each has parameters of its own, so that one can be moved or cast without the other, and
        buffers of its own, since the teacher's statistics may move.
        """
        before_first_step(self, ())  # or the copy would keep weights of another layout to itself
        if not self.teacher_trainable:
            memo.update((id(weight), nn.Parameter(weight.detach(), requires_grad=False))
                        for weight in self.teacher.parameters())
        other = self.__class__.__new__(self.__class__)
        memo[id(self)] = other
        other.__setstate__(copy.deepcopy(self.__reduce_ex__(4)[2], memo))
        return other
