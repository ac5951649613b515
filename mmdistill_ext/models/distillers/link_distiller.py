"""Links: one entry in the config for a place in the student, one in the teacher, a transform
between them and a loss."""
from functools import partial
from typing import Dict, List, Optional

import torch
from mmrazor.models.algorithms.base import LossResults
from mmrazor.models.distillers import ConfigurableDistiller
from mmrazor.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import ConfigError
from ..utils.dry_run import Outputs, dry_run, get_module, recorded_places, tensors_of, untouched
from .link_levels import (
    Feature,
    attempt,
    build,
    build_connector,
    check_levels,
    check_signature,
    features_of,
    recorder_key,
    too_few,
)
from .links import Link


@MODELS.register_module()
class LinkDistiller(ConfigurableDistiller):
    """A ``ConfigurableDistiller`` that also takes links.

    A link expands to MMRazor's recorders and connectors, one connector for each level of a
    multi-level output. Both forms can be used side by side. Every mistake in a link is found when
    the model is built, by running student and teacher once on a tiny input.

    Args:
        links (dict[str, dict]): Name of the loss -> dict with

            - student (str | list[str]): Where to read in the student.
            - teacher (str | list[str], optional): Where to read in the teacher. Without it the
              loss gets the list of the student's features (self-distillation).
            - connector (str | dict, optional): The transform of the student's feature. Its
              channel numbers are filled in.
            - loss (str | dict): Called as ``loss(student_feature, teacher_feature)``.
            - resize (bool): Resize the student's map to the teacher's. Defaults to False.
        student_recorders (dict, optional): As in ``ConfigurableDistiller``.
        teacher_recorders (dict, optional): As in ``ConfigurableDistiller``.

    Examples:
        >>> # One loss for each level of an FPN, each behind a connector of its own.
        >>> distiller = dict(type='mmrazor.LinkDistiller', links=dict(
        ...     loss_fpn=dict(student='neck', teacher='neck', connector='MLPConnector',
        ...                   loss=dict(type='FeatureL2Loss', loss_weight=2e-5))))
        >>> import mmdistill_ext
        >>> from mmrazor.registry import MODELS
        >>> MODELS.build(distiller).distill_losses
        ModuleDict(
          (loss_fpn): FeatureL2Loss()
        )
    """

    def __init__(self,
                 links: Dict[str, dict],
                 student_recorders: Optional[Dict[str, Dict]] = None,
                 teacher_recorders: Optional[Dict[str, Dict]] = None,
                 **kwargs) -> None:
        if not isinstance(links, dict) or not links:
            raise ConfigError(f'LinkDistiller: links is a dict of links, found {links!r}')
        parsed = [Link.from_config(name, config) for name, config in links.items()]
        super().__init__(
            student_recorders=_with_places(student_recorders, parsed, 'student'),
            teacher_recorders=_with_places(teacher_recorders, parsed, 'teacher'),
            **kwargs)
        self.links = parsed
        self.level_values: Dict[str, List[Tensor]] = {}  # of the last step, for who looks for a NaN
        for link in self.links:
            if link.name in self.distill_losses:
                raise ConfigError(f'link {link.name!r}: distill_losses has a loss of that name')
            self.distill_losses[link.name] = build(link, 'loss', link.loss)
            check_signature(link, self.distill_losses[link.name])

    def prepare_from_student(self, model: nn.Module) -> None:
        """Run the student once, then attach the recorders."""
        self._student = model, self.dry_run(model, 'student')
        super().prepare_from_student(model)

    def prepare_from_teacher(self, model: nn.Module) -> None:
        """Run the teacher once, build the connectors, then attach the recorders."""
        student, own = self._student
        theirs = self.dry_run(model, 'teacher', own.size)
        if theirs.size > own.size:  # in training both see images of one size
            own = self.dry_run(student, 'student', theirs.size)
        for link in self.links:
            self._expand(link, features_of(link.student, own), features_of(link.teacher, theirs))
        del self._student
        super().prepare_from_teacher(model)

    def dry_run(self, model: nn.Module, side: str, smallest: int = Outputs.size) -> Outputs:
        """What a model gives at every place that is read from it, on a tiny input.

        Args:
            model (nn.Module): The student or the teacher.
            side (str): 'student' or 'teacher'.
            smallest (int): The smallest size of the input.
        """
        places = {}
        for link in self.links:
            for place in getattr(link, side):
                get_module(model, place, f'link {link.name!r}, {side}')
                places.setdefault(place, link.name)
        for place in recorded_places(getattr(self, f'{side}_recorders')):
            places.setdefault(place, 'recorders')
        readers = ', '.join(dict.fromkeys(places.values()))
        # MMRazor's DKD, which may stand beside links, reads what goes into the loss.
        in_loss = 'recorders' in places.values()
        return dry_run(model, places, f'{side} of {readers}', smallest, in_loss) if places \
            else Outputs()

    def _expand(self, link: Link, student: List[Feature], teacher: List[Feature]) -> None:
        """Build a connector for each level and compute the loss once on what the dry run gave."""
        check_levels(link, student, teacher)
        loss = self.distill_losses[link.name]
        link.levels = [dict(student=feature.record) for feature in student]
        if not link.teacher:
            with untouched(self):
                attempt(link, lambda: loss([s.tensor for s in student]), *student)
        for index, (level, s, t) in enumerate(zip(link.levels, student, teacher)):
            level['teacher'] = t.record
            if link.connector:
                level['connector'] = f'{link.name}_{index}'
                if level['connector'] in self.connectors:
                    raise ConfigError(f'link {link.name!r}: connectors has one that is called '
                                      f"{level['connector']!r}, which the link's own would be")
                self.connectors[level['connector']] = build_connector(link, s, t)
            with untouched(self):
                compute = partial(self.level_loss, link, level, s.tensor.float(),
                                  t.tensor.float())
                attempt(link, compute, s, t)

    def level_loss(self, link: Link, level: dict, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss of one level: resize where asked, transform, compare.

        Args:
            link (Link): The link.
            level (dict): One of ``link.levels``.
            student (Tensor): [N, C_s, H, W] or [N, C_s].
            teacher (Tensor): [N, C_t, H, W] or [N, C_t].
        """
        student = self.bridged(link, level, student, teacher)
        if student.dtype == torch.float32:
            teacher = teacher.float()  # a teacher in half precision of its own
        # A teacher in channels_last: some of MMRazor's losses take a view of it.
        return self.distill_losses[link.name](student, teacher.contiguous())

    def bridged(self, link: Link, level: dict, student: Tensor, teacher: Tensor) -> Tensor:
        """The student's feature as its loss sees it: resized where asked, and transformed."""
        if link.resize and student.shape[2:] != teacher.shape[2:]:
            student = F.interpolate(
                student, size=teacher.shape[2:], mode='bilinear', align_corners=False)
        return self.connectors[level['connector']](student) if link.connector else student

    def level_losses(self, link: Link) -> List[Tensor]:
        """The loss of each level of a link, from what the recorders hold."""
        features = [self.feature(True, **level['student']) for level in link.levels]
        if not link.teacher:
            return [self.distill_losses[link.name](features)]
        targets = [self.feature(False, **level['teacher']) for level in link.levels]
        return [self.level_loss(link, *level) for level in zip(link.levels, features, targets)]

    def feature(self, from_student: bool, recorder: str, record_idx: int,
                 data_idx: int = 0) -> Tensor:
        """One tensor of a record, which may be a tensor, a tuple, tuples in a tuple, or a dict."""
        recorders = self.student_recorders if from_student else self.teacher_recorders
        records = recorders.get_recorder(recorder).data_buffer
        tensors = tensors_of(records[record_idx]) if record_idx < len(records) else []
        if data_idx >= len(tensors):
            raise too_few(self.links, recorder, from_student, len(records))
        return tensors[data_idx]

    def compute_distill_losses(self) -> LossResults:
        """The losses of MMRazor's mappings, then one for each link (summed over its levels)."""
        losses = super().compute_distill_losses()
        for link in self.links:
            levels = self.level_losses(link)
            self.level_values[link.name] = [level.detach() for level in levels]
            losses[link.name] = sum(levels)
        return losses


def _with_places(recorders: Optional[dict], links: List[Link], side: str) -> dict:
    """MMRazor's recorders and one more for each place, however many links read it."""
    recorders = dict(recorders or {})
    for link in links:
        for place in getattr(link, side):
            recorders[recorder_key(place)] = dict(type='ModuleOutputs', source=place)
    return recorders
