"""FCFD with a head as the lens: what detectors and segmentors share (docs/fcfd_det_seg.md)."""
from abc import abstractmethod
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from mmengine.model import ModuleDict, ModuleList
from mmengine.structures import BaseDataElement
from mmrazor.models.algorithms.base import LossResults
from mmrazor.models.task_modules import RecorderManager
from mmrazor.models.utils import add_prefix
from torch import Tensor, nn

from ..algorithms.lean_teacher_distill import LeanTeacherDistill
from ..distillers.step_checks import check_gradient
from ..losses.build import build_loss
from ..teacher.early_stop import Reads
from ..utils.dry_run import dry_run, tensors_of
from .bridges import FCFDBridge
from .head_checks import check_facts, check_maps, get_head, try_out
from .input_grad import check_not_recomputed, input_grad_only
from .path_stats import PathStats
from .recomputation import count_once

SIDES = ('student', 'teacher')


class FCFDHead(LeanTeacherDistill):
    """Features that look like the teacher's, and that a head answers as it answers the teacher's.

    The features are what the neck gives, or the backbone where there is no neck. The teacher runs
    no further; its head is called here. Adds to the student's own losses:

    - ``loss_app``: L_app, the sum over levels of ``loss_app(B_st(F_s), F_t)``.
    - ``loss_kd_*``: the student's answer in its own loss against the target, the answer of the
      teacher's head to F_t.
    - ``loss_s2t_*``: the teacher's head on B_st(F_s) against the target (L_func).
    - ``loss_t2s_*``: the student's head on B_ts(F_t) against the target (L_func').

    Args:
        loss_func (dict): Compares two answers of a head; returns a dict of terms.
        loss_app (dict): Compares two maps.
        distiller (dict, optional): More distillation beside FCFD, such as a ``LinkDistiller``.
        kwargs: All others of ``LeanTeacherDistill``.
    """

    enters_networks = True
    head_name: str  # the lens, in both models
    own: Dict[str, dict]  # recorders of what the student's head is asked and answers in its loss
    probe: tuple = ()  # what a lens is called with beside features when it is tried out

    def __init__(self,
                 loss_func: dict,
                 loss_app: dict = dict(type='FeatureMSELoss'),  # noqa: B006
                 distiller: Optional[dict] = None,
                 **kwargs) -> None:
        super().__init__(distiller=distiller or dict(type='ConfigurableDistiller'), **kwargs)
        maps = {side: self.features(side, self.outputs_read(side)[self.place(side)][0])
                for side in SIDES}
        check_maps(type(self).__name__, **maps)
        pairs = list(zip(maps['student'], maps['teacher']))
        self.bridges = ModuleDict(dict(
            s2t=ModuleList(self.bridge(s, t) for s, t in pairs),
            t2s=ModuleList(self.bridge(t, s) for s, t in pairs[:self.levels_read()])))
        names = {side: [f'{self.head_name}.{name}'.rstrip('.')
                        for name, _ in self.head(side).named_modules()] for side in SIDES}
        self.path_stats = PathStats(dict(
            s2t=(self.teacher, () if self.teacher_norm_eval else names['teacher']),
            t2s=(self.student, names['student'])))
        self.loss_app = build_loss('loss_app', loss_app)
        self.loss_func = build_loss('loss_func', loss_func)

    # What a kind of head has to say.

    @abstractmethod
    def facts(self, side: str) -> Dict[str, Any]:
        """What must agree between the two heads, by name. Raises where a head cannot be a lens."""

    @abstractmethod
    def answer(self, side: str, features: List[Tensor], *question) -> Any:
        """What a head makes of features."""

    @abstractmethod
    def own_answer(self, records: Dict[str, list]) -> Tuple[Any, tuple]:
        """The student's answer in its own loss, and what it was asked beside the features."""

    def features(self, side: str, output: Any) -> List[Tensor]:
        """The levels in what the neck (or backbone) gave."""
        return list(output)

    def levels_read(self) -> Optional[int]:
        """How many levels the student's head reads, from the first on; None for all."""
        return None

    def bridge(self, source: Tensor, target: Tensor) -> FCFDBridge:
        """A bridge between maps ``[N, C, H, W]``."""
        return FCFDBridge(source.shape[1], target.shape[1])

    # What is common.

    def head(self, side: str) -> nn.Module:
        """The lens of the student or of the teacher."""
        return get_head(getattr(self, side), self.head_name, f'{type(self).__name__}, {side}')

    def place(self, side: str) -> str:
        """The module that gives the features."""
        return 'neck' if getattr(self, side).with_neck else 'backbone'

    def check_networks(self) -> None:
        """Raise if an output of one head would mean something else in the other."""
        self.check_heads()

    def modules_in_float32(self) -> List[nn.Module]:
        """The teacher's head: a gradient goes through it, and mmcv's RoIAlign takes no bf16."""
        return [self.head('teacher')]

    def outputs_read(self, side: str) -> Dict[str, list]:
        """What is read, and what the head makes of it."""
        who, place, head = f'{type(self).__name__}, {side}', self.place(side), self.head(side)
        outputs = {**super().outputs_read(side), **dry_run(getattr(self, side), [place], who)}
        answer = try_out(who, head, lambda maps: self.answer(side, maps, *self.probe),
                         self.features(side, outputs[place][0]))
        return {**outputs, self.head_name: list(answer)}

    def check_heads(self) -> None:
        """Stops where what one head says would mean something else in the other."""
        check_facts(type(self).__name__, self.head_name, *map(self.facts, SIDES))

    def attach_recorders(self) -> None:
        """Record the features of both networks, and what the student's head does in its loss."""
        self.records = {}
        for side, others in zip(SIDES, (self.own, {})):
            features = dict(type='ModuleOutputs', source=self.place(side))
            self.records[side] = RecorderManager(dict(others, features=features))
            self.records[side].initialize(getattr(self, side))

    def teacher_reads(self) -> Optional[Reads]:
        """Beside what the distiller reads, the features."""
        reads = super().teacher_reads()
        return None if reads is None else [
            *reads, (self.records['teacher'].get_recorder('features'), 1)]

    def loss(self,
             batch_inputs: Tensor,
             data_samples: Optional[List[BaseDataElement]] = None,
             teacher_inputs: Optional[Tensor] = None) -> LossResults:
        """The student's own losses, the distiller's, and those of FCFD."""
        count_once(self)
        with self.records['student'], self.records['teacher']:
            losses = super().loss(batch_inputs, data_samples, teacher_inputs)
        seen = {side: {name: recorder.data_buffer for name, recorder in records.recorders.items()}
                for side, records in self.records.items()}
        for records in self.records.values():
            for recorder in records.recorders.values():
                recorder.reset_data_buffer()
        if not self.distillation_stopped:
            losses.update(add_prefix(self.fcfd_losses(**seen), 'fcfd'))
        return losses

    def fcfd_losses(self, student: Dict[str, list], teacher: Dict[str, list]) -> LossResults:
        """All terms but the task's, from what was recorded in the two forwards."""
        own, question = self.own_answer(student)
        f_s = self.features('student', student['features'][0])
        f_t = [x.detach().float() if self.teacher_dtype else x.detach()
               for x in self.features('teacher', teacher['features'][0])]
        b_st = _through(self.bridges['s2t'], f_s)
        with torch.no_grad():
            target = self.answer('teacher', f_t, *question)
        starts = [x.grad_fn for x in b_st]
        with self.path_stats.on('s2t'), input_grad_only(self.teacher):
            s2t = self.answer('teacher', b_st, *question)
        check_not_recomputed(self.teacher, starts, tensors_of(s2t))
        b_ts = _through(self.bridges['t2s'], f_t)
        with self.path_stats.on('t2s'):
            t2s = self.answer('student', b_ts, *question)
        self._check_gradients(f_s, kd=own, s2t=s2t, t2s=t2s)
        losses = dict(loss_app=sum(map(self.loss_app, b_st, f_t)))
        for path, answer in dict(kd=own, s2t=s2t, t2s=t2s).items():
            losses.update({f'loss_{path}_{term}': value
                           for term, value in self.loss_func(answer, target).items()})
        return losses

    def _check_gradients(self, features: List[Tensor], **answers: Any) -> None:
        """Raise if one of the terms would teach nothing."""
        if self.student_trainable and torch.is_grad_enabled():
            name, place = type(self).__name__, self.place('student')
            check_gradient(f'{name}, student', [place] * len(features), features)
            for path, answer in answers.items():
                outputs = tensors_of(answer)
                check_gradient(f'{name}, {path}', [self.head_name] * len(outputs), outputs)


def _through(bridges: Sequence[FCFDBridge], features: List[Tensor]) -> List[Tensor]:
    return [bridge(feature) for bridge, feature in zip(bridges, features)]
