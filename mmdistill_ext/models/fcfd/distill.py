"""FCFD, function-consistent feature distillation, for classifiers (docs/fcfd.md)."""
from contextlib import nullcontext
from typing import Dict, List, Optional, Sequence, Union

import torch
from mmengine.model import ModuleDict
from mmengine.structures import BaseDataElement
from mmrazor.models.algorithms.base import LossResults
from mmrazor.models.utils import add_prefix
from mmrazor.registry import MODELS
from torch import Tensor

from ...errors import ConfigError
from ..algorithms.lean_teacher_distill import LeanTeacherDistill
from ..distillers.step_checks import check_gradient
from ..losses.build import build_loss
from ..teacher.build import in_format
from ..utils.dry_run import dry_run
from ..utils.found_modules import every_module, within_a_step
from .bridges import bridge_between, check_stages
from .features import Record, pooled
from .input_grad import check_not_recomputed, input_grad_only
from .logit_target import LogitTarget, compare, with_targets
from .path_stats import PathStats, counted_at_once, norms_of
from .paths import Path, PathSampler
from .recomputation import count_once
from .staged_network import StagedNetwork

TERMS = ('l2', 'kl')


@MODELS.register_module()
class FCFDDistill(LeanTeacherDistill):
    """Student features that look like the teacher's, and do what the teacher's do.

    Adds to the student's own losses, with k counted over the N stages:

    - ``loss_kd``: the KL of the logits.
    - ``loss_app_<k>``, ``loss_app_pooled``: MSE of the bridged student features, and of the last
      ones pooled.
    - ``loss_s2t_<k>_l2`` and ``_kl`` for each sampled path from the student's stage k through the
      rest of the teacher: MSE at each later stage, and KL of the logits (L_func).
    - ``loss_t2s_<k>_kl`` for each sampled path from the teacher's stage k through the rest of the
      student (L_func').

    Args:
        student_stages (Sequence[str], optional): Modules that the student's stages end with,
            shallow to deep. Defaults to the usual ones of the backbone.
        teacher_stages (Sequence[str], optional): The same for the teacher, as many.
        paths (dict): ``num``, ``positions``, ``k_min``, ``directions`` of ``PathSampler``.
        appearance (bool): Whether to use the appearance losses. Defaults to True.
        s2t_terms (Sequence[str]): What L_func is made of, 'l2', 'kl' or both. Defaults to both.
        t2s_terms (Sequence[str]): The same for L_func'. Defaults to 'kl' alone.
        partial (bool): L_func goes through one teacher stage only, and has its l2 term only.
            Defaults to False.
        loss_kd (dict): The KL of student and teacher: MMRazor's ``KLDivergence`` or any loss that
            is called with (student logits, teacher logits), and labels if it takes ``gt_labels``.
        loss_func_kl (dict): The KL of the mixed paths.
        loss_mse (dict): Every MSE term.
        distiller (dict, optional): More distillation beside FCFD, such as a ``LinkDistiller``.
        teacher_norm_eval (bool): Defaults to False: on its pure path too the teacher normalises
            by the batch.
        kwargs: All others of ``LeanTeacherDistill``.

    Examples:
        >>> model = dict(
        ...     _scope_='mmrazor', type='FCFDDistill',
        ...     architecture=dict(
        ...         cfg_path='mmpretrain::resnet/resnet18_8xb32_in1k.py', pretrained=False),
        ...     teacher=dict(
        ...         cfg_path='mmpretrain::resnet/resnet34_8xb32_in1k.py', pretrained=False),
        ...     teacher_ckpt='resnet34.pth',
        ...     paths=dict(num=2))
    """

    enters_networks = True

    def __init__(self,
                 student_stages: Optional[Sequence[str]] = None,
                 teacher_stages: Optional[Sequence[str]] = None,
                 paths: dict = dict(num=2),  # noqa: B006
                 appearance: bool = True,
                 s2t_terms: Union[str, Sequence[str]] = ('l2', 'kl'),
                 t2s_terms: Union[str, Sequence[str]] = ('kl', ),
                 partial: bool = False,
                 loss_kd: dict = dict(type='KLDivergence'),  # noqa: B006
                 loss_func_kl: dict = dict(type='KLDivergence'),  # noqa: B006
                 loss_mse: dict = dict(type='FeatureMSELoss'),  # noqa: B006
                 distiller: Optional[dict] = None,
                 teacher_norm_eval: bool = False,
                 **kwargs) -> None:
        super().__init__(distiller=distiller or dict(type='ConfigurableDistiller'),
                         teacher_norm_eval=teacher_norm_eval, **kwargs)
        self.student_net = StagedNetwork(self.student, student_stages, 'student_stages')
        self.teacher_net = StagedNetwork(self.teacher, teacher_stages, 'teacher_stages')
        check_stages(self.student_net, self.teacher_net)
        self.sampler = PathSampler.from_config(len(self.student_net), paths)
        self.appearance, self.partial = appearance, partial
        self.terms = dict(s2t=_terms('s2t_terms', s2t_terms), t2s=_terms('t2s_terms', t2s_terms))
        if partial and self.terms['s2t'] != ['l2']:
            raise ConfigError('partial=True goes through one stage, where there are no logits: set '
                              f"s2t_terms='l2', found {s2t_terms!r}")
        self.loss_kd = with_targets(build_loss('loss_kd', loss_kd))
        self.loss_func_kl = with_targets(build_loss('loss_func_kl', loss_func_kl))
        self.loss_mse = build_loss('loss_mse', loss_mse)
        self.bridges = self.build_bridges()
        self.path_stats = PathStats({
            path.name: (self.student, list(self.student_net.modules_after(path.k)))
            if path.direction == 't2s' else
            (self.teacher, [] if teacher_norm_eval else
             list(self.teacher_net.modules_after(path.k)))
            for path in self.sampler.candidates})

    def build_bridges(self) -> ModuleDict:
        """A bridge for each path, and one for each stage whose appearance counts."""
        starts = set(self.sampler.candidates)
        if self.appearance:
            starts |= {Path(k, 's2t') for k in self.bridged_stages()}
        pairs = {'s2t': (self.student_net.features, self.teacher_net.features),
                 't2s': (self.teacher_net.features, self.student_net.features)}
        return ModuleDict({
            path.name: bridge_between(*(features[path.k - 1] for features in pairs[path.direction]))
            for path in sorted(starts)})

    def bridged_stages(self) -> range:
        """Stages with a bridge of their own to the teacher."""
        return range(1, len(self.student_net) + 1)

    def teacher_reads(self) -> None:
        """All of the teacher is read, up to the logits."""
        return None

    def teacher_mode(self) -> str:
        """Up to the logits, unless another distiller reads what is computed of them."""
        read = self.distiller.teacher_recorders.recorders or self.distiller.deliveries.deliveries
        return 'loss' if read else 'tensor'

    def outputs_read(self, side: str) -> Dict[str, list]:
        """What is read, and the teacher's logits, which fusing must not change."""
        outputs = super().outputs_read(side)
        if side == 'teacher' and hasattr(self.teacher, 'head'):
            outputs.update(dry_run(self.teacher, ['head'], 'teacher'))
        return outputs

    @within_a_step()
    def loss(self,
             batch_inputs: Tensor,
             data_samples: Optional[List[BaseDataElement]] = None,
             teacher_inputs: Optional[Tensor] = None) -> LossResults:
        """The student's own losses, the distiller's, and those of FCFD."""
        count_once(self.student, self.teacher, self.bridges)
        with self.student_net.recording() as student, self.teacher_net.recording() as teacher:
            losses = super().loss(batch_inputs, data_samples, teacher_inputs)
        if not self.distillation_stopped:
            losses.update(add_prefix(self.fcfd_losses(student, teacher, data_samples), 'fcfd'))
        return losses

    def run_teacher(self, inputs: Tensor, data_samples: Optional[list]) -> LossResults:
        """As always; its BatchNorm layers count the batch with one operator."""
        with counted_at_once(every_module(self.teacher).kept(norms_of)):
            return super().run_teacher(inputs, data_samples)

    def fcfd_losses(self, student: Record, teacher: Record,
                    data_samples: Optional[List[BaseDataElement]]) -> LossResults:
        """All terms but the task's.

        Args:
            student (Record): What the student's pure path gave.
            teacher (Record): What the teacher's pure path gave.
            data_samples (list[BaseDataElement]): Hold the labels, which some losses take.
        """
        if self.student_trainable and torch.is_grad_enabled():
            self._check_gradients(student)
        target = teacher.detached(torch.float if self.teacher_dtype else None)
        logits = LogitTarget(target.wide.logits)
        losses = dict(loss_kd=compare(self.loss_kd, student.logits, logits, data_samples))
        bridged = {}
        if self.appearance:
            bridged = {k: self.to_teacher(k, student) for k in range(1, len(self.student_net) + 1)}
            losses.update(self.appearance_losses(bridged, target.wide))
        for path in self.sampler.draw():
            if path.direction == 's2t':
                start = bridged[path.k] if bridged else self.to_teacher(path.k, student)
                goal, until = target, path.k + 1 if self.partial else None
            else:
                start = self.bridges[path.name](target.features[path.k - 1])
                goal, until = student.detached(), None
            outputs = self.run_path(path, start, until)
            if torch.is_grad_enabled():
                network = self.teacher_net if path.direction == 's2t' else self.student_net
                check_gradient(f'FCFD, path {path.name}', network.ends()[path.k:], outputs)
            terms = self.terms[path.direction]
            if 'l2' in terms:
                losses[f'loss_{path.name}_l2'] = self.later_l2(path.k, outputs, goal.wide)
            if 'kl' in terms:
                losses[f'loss_{path.name}_kl'] = compare(
                    self.loss_func_kl, outputs[-1], logits, data_samples)
        return losses

    def _check_gradients(self, student: Record) -> None:
        """Raise if a term would teach the student nothing."""
        stages = range(1, len(self.student_net) + 1) if self.appearance else sorted(
            path.k for path in self.sampler.candidates if path.direction == 's2t')
        *ends, last = self.student_net.ends()
        check_gradient('FCFD, student', [*(ends[k - 1] for k in stages), last],
                       [*(student.features[k - 1] for k in stages), student.logits])

    def to_teacher(self, k: int, student: Record) -> Tensor:
        """``B_st^k(F_s^k)``."""
        return self.bridges[Path(k, 's2t').name](student.features[k - 1])

    def appearance_losses(self, bridged: Dict[int, Tensor], target: Record) -> LossResults:
        """L_app at every stage, and between what is pooled from the last one."""
        losses = {f'loss_app_{k}': self.loss_mse(feature, target.features[k - 1])
                  for k, feature in bridged.items()}
        losses['loss_app_pooled'] = self.loss_mse(pooled(bridged[len(bridged)]), target.pooled)
        return losses

    def later_l2(self, k: int, outputs: List[Tensor], goal: Record) -> Tensor:
        """The MSE terms of a path: at each stage after k that it reached, and pooled at the last.

        Args:
            k (int): Where the path changed networks.
            outputs (list[Tensor]): Of stage k + 1 and on; the logits may follow.
            goal (Record): The pure path of the network that it changed to.
        """
        later = list(zip(outputs, goal.features[k:]))
        losses = [self.loss_mse(output, feature) for output, feature in later]
        if k + len(later) == len(goal.features):
            losses.append(self.loss_mse(pooled(later[-1][0]), goal.pooled))
        return sum(losses[1:], losses[0])

    def run_path(self, path: Path, feature: Tensor, until: Optional[int] = None) -> List[Tensor]:
        """The rest of a mixed path, with its own BatchNorm statistics.

        Args:
            path (Path): Which one.
            feature (Tensor): What the bridge gave.
            until (int, optional): The stage to stop after. Defaults to the logits.

        Returns:
            list[Tensor]: Of stage k + 1 and on, and the logits.
        """
        with self.path_stats.on(path.name):
            if path.direction == 't2s':
                return self.student_net.run(path.k, feature)
            no_amp = torch.autocast(feature.device.type, enabled=False) if self.teacher_dtype \
                else nullcontext()
            start = feature.grad_fn
            feature = in_format(feature, self.teacher, self.teacher_channels_last)
            with input_grad_only(self.teacher), no_amp, \
                    self.cast_weights.used(feature.device.type):
                outputs = self.teacher_net.run(path.k, feature, until)
            check_not_recomputed(self.teacher, [start], outputs)
            return outputs


def _terms(field: str, terms: Union[str, Sequence[str]]) -> List[str]:
    terms = [terms] if isinstance(terms, str) else list(terms)
    if not terms or not set(terms) <= set(TERMS):
        raise ConfigError(f"{field} is made of 'l2' and 'kl', found {terms}")
    return terms
