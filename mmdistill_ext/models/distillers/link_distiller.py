"""The distiller that trains with links (docs/links.md)."""
from functools import partial
from typing import Dict, List, Optional, Sequence

import torch
from mmrazor.models.algorithms.base import LossResults
from mmrazor.models.distillers import ConfigurableDistiller
from mmrazor.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import ConfigError
from ..utils.dry_run import Outputs, dry_run, get_module, recorded_places, tensors_of, untouched
from .layouts import Steps, map_steps
from .link_levels import (
    DryRunFeature,
    Level,
    RecordIndex,
    build,
    build_connector,
    check_loss,
    check_signature,
    check_takes_tokens,
    features_of,
    match_levels,
    missing_record_error,
    place_of,
    recorder_key,
)
from .links import Link
from .step_checks import Expected, check_gradient, check_outputs, expected_of


@MODELS.register_module()
class LinkDistiller(ConfigurableDistiller):
    """A ``ConfigurableDistiller`` that also takes links.

    A link expands to MMRazor's recorders and connectors, one connector for each level of a
    multi-level output. Both forms can be used side by side. Student and teacher run once on a tiny
    input when the model is built, so a mistake in a link stops the run before the first step.

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
            raise ConfigError(f'LinkDistiller: links expected a dict of links, found {links!r}')
        parsed = [Link.from_config(name, config) for name, config in links.items()]
        super().__init__(
            student_recorders=_with_places(student_recorders, parsed, 'student'),
            teacher_recorders=_with_places(teacher_recorders, parsed, 'teacher'),
            **kwargs)
        self.links = tuple(parsed)
        self.levels: Dict[str, List[Level]] = {}  # of each link, once both models are known
        self.expected: Dict[str, Dict[str, List[Expected]]] = {}  # link -> side -> places
        self.student_has_grad = True  # whether the student's last forward ran with gradient
        self.image_size: Sequence[int] = ()  # of the student's last images
        self.level_values: Dict[str, List[Tensor]] = {}  # losses of the last step, to find a NaN
        for link in self.links:
            if link.name in self.distill_losses:
                raise ConfigError(f'link {link.name!r}: distill_losses already has this name')
            self.distill_losses[link.name] = build(link, 'loss', link.loss)
            check_signature(link, self.distill_losses[link.name])

    def prepare_from_student(self, model: nn.Module) -> None:
        """Run the student once, then attach the recorders."""
        self._student = model, self.dry_run(model, 'student')
        super().prepare_from_student(model)
        model.register_forward_pre_hook(self._note_call)

    def _note_call(self, _: nn.Module, args: tuple) -> None:
        """``student_trainable=False`` runs the student without gradient on purpose."""
        self.student_has_grad = torch.is_grad_enabled()
        if args and isinstance(args[0], Tensor):
            self.image_size = args[0].shape[2:]

    def prepare_from_teacher(self, model: nn.Module) -> None:
        """Run the teacher once, build the connectors, then attach the recorders."""
        student, own = self._student
        theirs = self.dry_run(model, 'teacher', own.size)
        if theirs.size != own.size:  # in training both see images of one size
            own = self.dry_run(student, 'student', theirs.size)
        for link in self.links:
            self._resolve(link, features_of(link, 'student', student, own),
                          features_of(link, 'teacher', model, theirs), own.size)
        del self._student
        super().prepare_from_teacher(model)

    def dry_run(self, model: nn.Module, side: str, first: int = Outputs.size) -> Outputs:
        """Run a model on a tiny input and return the outputs of every place that is read.

        Args:
            model (nn.Module): The student or the teacher.
            side (str): 'student' or 'teacher'.
            first (int): The size of the input that is tried first.
        """
        places: Dict[str, str] = {}
        for link in self.links:
            for place in getattr(link, side):
                get_module(model, place, f'link {link.name!r}, {side}')
                places.setdefault(place, link.name)
        for place in recorded_places(getattr(self, f'{side}_recorders')):
            places.setdefault(place, 'recorders')
        readers = ', '.join(dict.fromkeys(places.values()))
        # MMRazor's DKD, which may stand beside links, reads what goes into the loss.
        in_loss = 'recorders' in places.values()
        return dry_run(model, places, f'{side} of {readers}', first, in_loss) if places \
            else Outputs()

    def _resolve(self, link: Link, student: List[DryRunFeature],
                 teacher: List[DryRunFeature], image: int) -> None:
        """Set the levels of a link, build their connectors and compute each loss once."""
        loss = self.distill_losses[link.name]
        self.expected[link.name] = dict(student=expected_of(student), teacher=expected_of(teacher))
        if not link.teacher:
            maps = getattr(loss, 'takes_maps_only', False)
            self.levels[link.name] = [
                Level(s.record, student_steps=map_steps(s.layout, image) if maps else Steps())
                for s in student]
            self.image_size = (image, image)
            with untouched(self):
                check_loss(link, lambda: self.own_loss(link, [s.tensor for s in student]),
                           *student)
            return
        self.levels[link.name] = match_levels(link, student, teacher)
        for level, s, t in zip(self.levels[link.name], student, teacher):
            check_takes_tokens(link, loss, level, s)
            if level.connector:
                if level.connector in self.connectors:
                    raise ConfigError(f'link {link.name!r}: connectors already has the name '
                                      f'{level.connector!r}, which this link uses')
                self.connectors[level.connector] = build_connector(link, s, t)
            with untouched(self):
                compute = partial(self.level_loss, link, level, s.tensor.float(),
                                  t.tensor.float())
                check_loss(link, compute, s, t)

    def level_loss(self, link: Link, level: Level, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss of one level: one layout, resize if asked, transform, compare.

        Args:
            link (Link): The link.
            level (Level): One of ``self.levels[link.name]``.
            student (Tensor): A vector, tokens or a map, as the student returns it.
            teacher (Tensor): A vector, tokens or a map, as the teacher returns it.
        """
        student, teacher = level.arrange(student, teacher)
        if len(student) != len(teacher):  # some losses would broadcast
            raise ConfigError(f'link {link.name!r}: the student returned {list(student.shape)}, '
                              f'the teacher {list(teacher.shape)}; name places that return as many '
                              'samples in training and evaluation')
        student = self.connect(link, level, student, teacher)
        if student.dtype == torch.float32:
            teacher = teacher.float()  # a teacher in half precision of its own
        loss = self.distill_losses[link.name]
        # Some losses take a view of a teacher in channels_last; ours do not, and are fast where
        # both features are in one layout.
        if not type(loss).__module__.startswith('mmdistill_ext.') or student.is_contiguous():
            teacher = teacher.contiguous()
        return loss(student, teacher)

    def connect(self, link: Link, level: Level, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the student's feature as the loss gets it: resized if asked, then transformed.

        Both features are in one layout (``Level.arrange``).
        """
        if link.resize and student.ndim == 4 and student.shape[2:] != teacher.shape[2:]:
            student = F.interpolate(
                student, size=teacher.shape[2:], mode='bilinear', align_corners=False)
        return self.connectors[level.connector](student) if level.connector else student

    def own_loss(self, link: Link, features: List[Tensor]) -> Tensor:
        """The loss of a link without a teacher, of all its features."""
        return self.distill_losses[link.name]([
            level.student_steps.apply(feature, self.image_size)
            for level, feature in zip(self.levels[link.name], features)])

    def level_losses(self, link: Link) -> List[Tensor]:
        """The loss of each level of a link, from what the recorders hold."""
        levels = self.levels[link.name]
        features = [self.feature(True, level.student) for level in levels]
        if not link.teacher:
            return [self.own_loss(link, features)]
        targets = [self.feature(False, level.teacher) for level in levels if level.teacher]
        return [self.level_loss(link, *level) for level in zip(levels, features, targets)]

    def feature(self, from_student: bool, index: RecordIndex) -> Tensor:
        """One tensor of a record, which may be a tensor, a tuple, tuples in a tuple, or a dict."""
        recorders = self.student_recorders if from_student else self.teacher_recorders
        records = recorders.get_recorder(index.recorder).data_buffer
        tensors = tensors_of(records[index.record_idx]) if index.record_idx < len(records) else []
        if (index.data_idx or 0) >= len(tensors):
            raise missing_record_error(self.links, index.recorder, from_student, len(records))
        return tensors[index.data_idx or 0]

    def _check_step(self, link: Link) -> None:
        """Raise if this step recorded other outputs than the dry run, or none with gradient."""
        for side, places in self.expected[link.name].items():
            recorders = getattr(self, f'{side}_recorders')
            for expected in places:
                check_outputs(link.name, side, expected,
                              recorders.get_recorder(recorder_key(expected.place)).data_buffer)
        if torch.is_grad_enabled() and self.student_has_grad:
            indices = [level.student for level in self.levels[link.name]]
            check_gradient(f'link {link.name!r}, student',
                           [place_of(index.recorder) for index in indices],
                           [self.feature(True, index) for index in indices])

    def compute_distill_losses(self) -> LossResults:
        """The losses of MMRazor's mappings, then one for each link (summed over its levels)."""
        losses = super().compute_distill_losses()
        for link in self.links:
            if self.training:
                self._check_step(link)
            levels = self.level_losses(link)
            self.level_values[link.name] = [level.detach() for level in levels]
            losses[link.name] = sum(levels[1:], levels[0])  # sum() alone adds a zero
        return losses


def _with_places(recorders: Optional[dict], links: List[Link], side: str) -> dict:
    """MMRazor's recorders and one for each place, also when several links read it."""
    recorders = dict(recorders or {})
    for link in links:
        for place in getattr(link, side):
            recorders[recorder_key(place)] = dict(type='ModuleOutputs', source=place)
    return recorders
