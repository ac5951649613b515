"""Where a distillation reads its two networks, and the shapes that it gets there."""
from contextlib import ExitStack, contextmanager
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from mmengine.model import BaseModel
from mmrazor.models.task_modules.recorder import ModuleInputsRecorder, ModuleOutputsRecorder
from torch import nn

from ..models.distillers import LinkDistiller
from ..models.distillers.link_levels import RecordIndex, place_of
from ..models.fcfd import FCFDDistill
from ..models.fcfd.head import FCFDHead
from ..models.teacher.compiled import eagerly
from ..models.utils.dry_run import tensors_of
from .tables import Table

# (side, module, whether of its inputs) -> call -> tensor
Shapes = Dict[Tuple[str, str, bool], List[List[Tuple[int, ...]]]]


class Reading(NamedTuple):
    """One tensor that a module returns, or gets.

    Args:
        module (str): As in ``named_modules()`` of the student or the teacher.
        call (int): Which call of the module in a step. Defaults to 0.
        item (int): Which tensor of that call. Defaults to 0.
        inputs (bool): Whether it is one of the inputs. Defaults to False.
    """
    module: str
    call: int = 0
    item: int = 0
    inputs: bool = False


class Place(NamedTuple):
    """What one loss, or several of one name, compares.

    Args:
        name (str): Of the losses, as the log has them.
        student (Reading): What is read in the student.
        teacher (Reading, optional): What is read in the teacher. None: the student teaches itself.
        connector (str): What stands between them; '' for nothing.
        loss (str): The loss and its weight.
    """
    name: str
    student: Reading
    teacher: Optional[Reading]
    connector: str
    loss: str


def places(algorithm: BaseModel) -> List[Place]:
    """All places of a distillation, this project's or MMRazor's.

    Args:
        algorithm (BaseModel): Built; a model that distils nothing has none.
    """
    distiller = getattr(algorithm, 'distiller', None)
    return [*_of_links(distiller), *_of_mappings(distiller), *_of_stages(algorithm),
            *_of_heads(algorithm)]


@contextmanager
def shapes_of(algorithm: BaseModel) -> Iterator[Shapes]:
    """Within it, the shapes of what the places' modules return in a step are written down."""
    found: Shapes = {}
    with eagerly(algorithm), ExitStack() as hooks:
        for side, network in _networks(algorithm).items():
            modules = dict(network.named_modules())
            for place in places(algorithm):
                reading = getattr(place, side)
                if reading and (side, reading.module, reading.inputs) not in found:
                    calls = found[side, reading.module, reading.inputs] = []
                    # First: with the last place the teacher's forward may end.
                    hooks.callback(modules[reading.module].register_forward_hook(
                        _noting(calls, reading.inputs), prepend=True).remove)
        yield found


def table(algorithm: BaseModel, shapes: Shapes) -> Table:
    """A row for each place; shapes as [N, C, H, W], or what the module returns."""
    rows = []
    for place in places(algorithm):
        row = [place.name]
        for side, reading in (('student', place.student), ('teacher', place.teacher)):
            row += [reading.module if reading else '', _shape(shapes, side, reading)]
        rows.append([*row, place.connector, place.loss])
    return Table(['loss', 'student', 'shape', 'teacher', 'shape', 'connector', 'kind'], rows)


def _networks(algorithm: BaseModel) -> Dict[str, nn.Module]:
    sides = dict(student='architecture', teacher='teacher')
    return {side: getattr(algorithm, name) for side, name in sides.items()
            if getattr(algorithm, name, None) is not None}


def _noting(calls: list, inputs: bool):

    def note(_, given, output):
        calls.append([tuple(x.shape) for x in tensors_of(given if inputs else output)])

    return note


def _shape(shapes: Shapes, side: str, reading: Optional[Reading]) -> str:
    if reading is None:
        return ''
    calls = shapes.get((side, reading.module, reading.inputs), [])
    if reading.call >= len(calls) or reading.item >= len(calls[reading.call]):
        return 'not in a step'
    return str(list(calls[reading.call][reading.item]))


def _described(loss: nn.Module) -> str:
    weight = getattr(loss, 'loss_weight', None)
    return type(loss).__name__ + (f' * {weight:g}' if isinstance(weight, (int, float)) else '')


def _reading(index: RecordIndex) -> Reading:
    return Reading(place_of(index.recorder), index.record_idx, index.data_idx or 0)


def _of_links(distiller: Any) -> Iterator[Place]:
    for link in distiller.links if isinstance(distiller, LinkDistiller) else ():
        levels = distiller.levels[link.name]
        for number, level in enumerate(levels):
            connector = distiller.connectors[level.connector] if level.connector else None
            yield Place(
                f'distill.{link.name}' + (f' {number}' if len(levels) > 1 else ''),
                _reading(level.student), _reading(level.teacher) if level.teacher else None,
                type(connector).__name__ if connector else '',
                _described(distiller.distill_losses[link.name]))


def _of_mappings(distiller: Any) -> Iterator[Place]:
    """Losses in MMRazor's own form, where they read one record of each network."""
    for name, records in (getattr(distiller, 'loss_forward_mappings', None) or {}).items():
        found: Dict[bool, Reading] = {}
        connector = ''
        for record in records.values():
            side = record.get('from_student', True)
            recorders = distiller.student_recorders if side else distiller.teacher_recorders
            recorder = recorders.recorders.get(record.get('recorder'))
            if isinstance(recorder, (ModuleOutputsRecorder, ModuleInputsRecorder)):
                found[side] = Reading(
                    recorder.source, record.get('record_idx', 0), record.get('data_idx') or 0,
                    isinstance(recorder, ModuleInputsRecorder))
            connector = record.get('connector') or connector
        if True in found:
            kind = type(distiller.connectors[connector]).__name__ if connector else ''
            yield Place(f'distill.{name}', found[True], found.get(False), kind,
                        _described(distiller.distill_losses[name]))


def _of_stages(algorithm: BaseModel) -> Iterator[Place]:
    """FCFD's stages, with what starts or ends there, and the logits."""
    if not isinstance(algorithm, FCFDDistill):
        return
    own, theirs = algorithm.student_net, algorithm.teacher_net
    for k, (s, t) in enumerate(zip(own.features, theirs.features), start=1):
        paths = [f'{path.name}_*' for path in algorithm.sampler.candidates if path.k == k]
        names = [*([f'app_{k}'] if algorithm.appearance else []), *paths]
        if names:
            kind = 'FCFDBridge' if f's2t_{k}' in algorithm.bridges else ''
            yield Place(', '.join(f'fcfd.loss_{name}' for name in names), Reading(s.name),
                        Reading(t.name), kind, _described(algorithm.loss_mse))
    yield Place('fcfd.loss_kd', Reading(own.ends()[-1]),
                Reading(theirs.ends()[-1]), '', _described(algorithm.loss_kd))


def _of_heads(algorithm: BaseModel) -> Iterator[Place]:
    """The levels that FCFD's heads read."""
    if not isinstance(algorithm, FCFDHead):
        return
    levels = len(algorithm.bridges['s2t'])
    for level, bridge in enumerate(algorithm.bridges['s2t']):
        # A decode head takes some of the stages.
        student, teacher = (
            Reading(algorithm.place(side), 0,
                    getattr(algorithm.head(side), 'stages', range(levels))[level])
            for side in ('student', 'teacher'))
        yield Place('fcfd.loss_app' + (f' level {level}' if levels > 1 else ''), student, teacher,
                    type(bridge).__name__, _described(algorithm.loss_app))
