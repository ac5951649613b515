"""FCFD through the heads: what detectors and segmentors share (docs/fcfd_det_seg.md)."""
from typing import Any, ClassVar, Dict, List, Optional, Sequence, Type

import torch
from mmengine.model import ModuleDict, ModuleList
from mmengine.structures import BaseDataElement
from mmrazor.models.algorithms.base import LossResults
from mmrazor.models.task_modules import RecorderManager
from mmrazor.models.utils import add_prefix
from torch import Tensor, nn

from ...errors import ConfigError
from ..algorithms.lean_teacher_distill import LeanTeacherDistill
from ..distillers.step_checks import check_gradient
from ..losses.build import build_loss
from ..teacher.early_stop import Reads
from ..utils.dry_run import dry_run, tensors_of
from ..utils.found_modules import within_a_step
from .bridges import FCFDBridge
from .head_checks import check_features, check_maps, check_signatures, get_head, try_out
from .head_contract import HeadContract, find_contract
from .input_grad import check_not_recomputed, input_grad_only
from .path_stats import PathStats
from .recomputation import count_once

SIDES = ('student', 'teacher')
# Of the images to try: a deformable convolution wants 3 x 3 on every level, LRASPP 49 x 49.
PIXELS = (128, 384, 512)


class FCFDHead(LeanTeacherDistill):
    """Features that look like the teacher's, and of which a head makes what it makes of those.

    The features are what the neck gives, or the backbone where there is no neck. The teacher runs
    no further; its head is called here. Adds to the student's own losses:

    - ``loss_app``: L_app, the sum over levels of ``loss_app(B_st(F_s), F_t)``.
    - ``loss_kd_*``: the outputs of the student's head in its own loss against the target, the
      outputs of the teacher's head on F_t.
    - ``loss_s2t_*``: the teacher's head on B_st(F_s) against the target (L_func).
    - ``loss_t2s_*``: the student's head on B_ts(F_t) against the target (L_func').

    Args:
        loss_func (dict): Compares the outputs of two heads; returns a dict of terms. Its
            ``prepared``, if there is one, is called once with the target of all paths.
        loss_app (dict): Compares two maps.
        distiller (dict, optional): More distillation beside FCFD, such as a ``LinkDistiller``.
        kwargs: All others of ``LeanTeacherDistill``.
    """

    enters_networks = True
    contract: ClassVar[Type[HeadContract]]  # the family of heads; which one, the models say

    def __init__(self,
                 loss_func: dict,
                 loss_app: dict = dict(type='FeatureMSELoss'),  # noqa: B006
                 distiller: Optional[dict] = None,
                 **kwargs) -> None:
        super().__init__(distiller=distiller or dict(type='ConfigurableDistiller'), **kwargs)
        heads = {side: self.head(side) for side in SIDES}
        maps = {side: self.maps_read(side) for side in SIDES}
        check_maps(type(self).__name__, **maps)
        pairs = list(zip(maps['student'], maps['teacher']))
        bridge, read = heads['student'].bridge, heads['student'].levels_read()
        self.bridges = ModuleDict(dict(
            s2t=ModuleList(bridge(s, t) for s, t in pairs),
            t2s=ModuleList(bridge(t, s) for s, t in pairs[:read])))
        names = {side: [f'{head.place}.{name}'.rstrip('.') for name, _ in head.head.named_modules()]
                 for side, head in heads.items()}
        self.path_stats = PathStats(dict(
            s2t=(self.teacher, () if self.teacher_norm_eval else names['teacher']),
            t2s=(self.student, names['student'])))
        self.loss_app = build_loss('loss_app', loss_app)
        self.loss_func = build_loss('loss_func', loss_func)

    def head(self, side: str) -> HeadContract:
        """The head of the student or of the teacher."""
        who, place = type(self).__name__, self.contract.place
        # Looked up each time: a teacher that cannot be fused is put back as a copy.
        module = get_head(getattr(self, side), place, f'{who}, {side}')
        return find_contract(module, self.contract, side, who)

    def head_outputs(self, side: str, features: List[Tensor], *inputs: Any) -> Any:
        """The outputs of a head, in the units of the student's."""
        head = self.head(side)
        outputs = head.head_outputs(features, *inputs)
        return outputs if side == 'student' else head.rescaled(outputs, self.head('student'))

    def place(self, side: str) -> str:
        """The module that gives the features."""
        return 'neck' if getattr(self, side).with_neck else 'backbone'

    def check_networks(self) -> None:
        """Raise if the two heads' outputs are not comparable."""
        student, teacher = (self.head(side).signature() for side in SIDES)
        check_signatures(type(self).__name__, self.contract.place, student, teacher)

    def modules_in_float32(self) -> List[nn.Module]:
        """The teacher's head: a gradient goes through it, and mmcv's RoIAlign takes no bf16."""
        return [self.head('teacher').head]

    def outputs_read(self, side: str) -> Dict[str, list]:
        """What is read, and what the head makes of it."""
        others, head, errors = super().outputs_read(side), self.head(side), []
        who = f'{type(self).__name__}, {side}'
        for size in PIXELS:
            maps = self.maps_read(side, size)
            try:
                outputs = try_out(who, head.head, lambda maps: self.head_outputs(
                    side, maps, *head.example_inputs), maps)
                return {self.place(side): maps, head.place: [outputs], **others}
            except ConfigError as error:
                errors.append(error)
        raise errors[0]

    def maps_read(self, side: str, size: int = PIXELS[0]) -> List[Tensor]:
        """The maps that a head reads, for a tiny image."""
        who, place = f'{type(self).__name__}, {side}', self.place(side)
        maps = self.head(side).features(dry_run(getattr(self, side), [place], who, size)[place][0])
        check_features(who, place, maps)
        return maps

    def attach_recorders(self) -> None:
        """Record the features of both networks, and what the student's head does in its loss."""
        self.records = {}
        for side, others in zip(SIDES, (self.contract.recorders, {})):
            features = dict(type='ModuleOutputs', source=self.place(side))
            self.records[side] = RecorderManager(dict(others, features=features))
            self.records[side].initialize(getattr(self, side))

    def teacher_reads(self) -> Optional[Reads]:
        """Beside what the distiller reads, the features."""
        reads = super().teacher_reads()
        return None if reads is None else [
            *reads, (self.records['teacher'].get_recorder('features'), 1)]

    @within_a_step()
    def loss(self,
             batch_inputs: Tensor,
             data_samples: Optional[List[BaseDataElement]] = None,
             teacher_inputs: Optional[Tensor] = None) -> LossResults:
        """The student's own losses, the distiller's, and those of FCFD."""
        count_once(self.student, self.teacher, self.bridges)
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
        own, inputs = self.head('student').recorded(student)
        f_s = self.head('student').features(student['features'][0])
        f_t = [x.detach().float() if self.teacher_dtype else x.detach()
               for x in self.head('teacher').features(teacher['features'][0])]
        for s, t in zip(f_s, f_t):
            if len(s) != len(t):
                raise ConfigError(f'{type(self).__name__}: for one batch the student gives '
                                  f'{len(s)} maps in training and the teacher {len(t)} in '
                                  'evaluation; expected as many')
        b_st = _through(self.bridges['s2t'], f_s)
        with torch.no_grad():
            target = self.head_outputs('teacher', f_t, *inputs)
        starts = [x.grad_fn for x in b_st]
        with self.path_stats.on('s2t'), input_grad_only(self.teacher):
            s2t = self.head_outputs('teacher', b_st, *inputs)
        check_not_recomputed(self.teacher, starts, tensors_of(s2t))
        b_ts = _through(self.bridges['t2s'], f_t)
        with self.path_stats.on('t2s'):
            t2s = self.head_outputs('student', b_ts, *inputs)
        self._check_gradients(f_s, kd=own, s2t=s2t, t2s=t2s)
        if hasattr(self.loss_func, 'prepared'):
            target = self.loss_func.prepared(target)
        losses = dict(loss_app=sum(map(self.loss_app, b_st, f_t)))
        for path, outputs in dict(kd=own, s2t=s2t, t2s=t2s).items():
            losses.update({f'loss_{path}_{term}': value
                           for term, value in self.loss_func(outputs, target).items()})
        return losses

    def _check_gradients(self, features: List[Tensor], **paths: Any) -> None:
        """Raise if one of the terms would teach nothing."""
        if self.student_trainable and torch.is_grad_enabled():
            name, place = type(self).__name__, self.place('student')
            check_gradient(f'{name}, student', [place] * len(features), features)
            for path, outputs in paths.items():
                found = tensors_of(outputs)
                check_gradient(f'{name}, {path}', [self.contract.place] * len(found), found)


def _through(bridges: Sequence[FCFDBridge], features: List[Tensor]) -> List[Tensor]:
    return [bridge(feature) for bridge, feature in zip(bridges, features)]
