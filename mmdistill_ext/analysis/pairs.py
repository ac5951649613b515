"""Each pair of student and teacher features that a distillation compares."""
from typing import Iterator, List, NamedTuple

import torch
from mmengine.model import BaseModel
from mmrazor.models.distillers import ConfigurableDistiller
from torch import Tensor

from ..errors import ConfigError
from ..models.distillers import LinkDistiller
from ..models.fcfd import FCFDDistill
from ..models.fcfd.head import FCFDHead
from .loading import Batch, prepare


class Pair(NamedTuple):
    """One level of a link, one loss between records, or one bridge of FCFD, on a batch.

    Args:
        name (str): Of the link (with the level, where there are several), the loss or the stage.
        student (Tensor): What the student gives, [N, C_s, H, W], [N, C_s, L] or [N, C_s].
        bridged (Tensor): The same after the connector, as the loss sees it.
        teacher (Tensor): What the teacher gives.
    """
    name: str
    student: Tensor
    bridged: Tensor
    teacher: Tensor


def pairs(algorithm: BaseModel, batch: dict) -> List[Pair]:
    """All pairs of a distillation in evaluation mode.

    Args:
        algorithm (BaseModel): With a student and a teacher, MMRazor's or this project's.
        batch (dict): As a dataloader gives it.
    """
    ready = prepare(algorithm, batch)
    with torch.no_grad():
        found = [pair for kind in (_of_links, _of_mappings, _of_stages, _of_heads)
                 for pair in kind(algorithm, ready)]
    if not found:
        raise ConfigError(f'{type(algorithm).__name__} compares no feature of the student with the '
                          "teacher's; links that name a teacher, losses between one record of "
                          "each, and FCFD's bridges do")
    return [Pair(name, student.float(), bridged.float(), teacher.float())
            for name, student, bridged, teacher in found]


def _run(algorithm: BaseModel, batch: Batch) -> None:
    algorithm.student(batch.student, batch.samples, mode='tensor')
    algorithm.teacher(batch.teacher, batch.samples, mode='tensor')


def _of_links(algorithm: BaseModel, batch: Batch) -> Iterator[Pair]:
    distiller = algorithm.distiller
    if not isinstance(distiller, LinkDistiller):
        return
    with distiller.student_recorders, distiller.teacher_recorders:
        _run(algorithm, batch)
    for link in distiller.links:
        levels = distiller.levels[link.name]
        for number, level in enumerate(levels):
            if level.teacher is None:
                continue
            student = distiller.feature(True, level.student)
            teacher = distiller.feature(False, level.teacher).to(student.dtype)
            name = f'{link.name} {number}' if len(levels) > 1 else link.name
            student, teacher = level.arrange(student, teacher)
            found = student, distiller.connect(link, level, student, teacher), teacher
            # Channels second, also in tokens [N, L, C].
            yield Pair(name, *(x.transpose(1, 2) if x.ndim == 3 else x for x in found))


def _of_mappings(algorithm: BaseModel, batch: Batch) -> Iterator[Pair]:
    """What a loss in MMRazor's own form gets, where that is one tensor of each network."""
    distiller = algorithm.distiller
    if not getattr(distiller, 'loss_forward_mappings', None):
        return
    with distiller.student_recorders, distiller.teacher_recorders:
        _run(algorithm, batch)
    for name, records in distiller.loss_forward_mappings.items():
        own, theirs = ([record for record in records.values() if record['from_student'] is side]
                       for side in (True, False))
        if len(own) != 1 or len(theirs) != 1 or not _filled(distiller, own[0], theirs[0]):
            continue
        plain = {key: value for key, value in own[0].items() if not key.startswith('connector')}
        student, bridged, teacher = (distiller.get_record(**record)
                                     for record in (plain, own[0], theirs[0]))
        # Vectors as they are, without a connector, are logits, which are no features.
        least = 2 if 'connector' in own[0] else 3
        if all(isinstance(x, Tensor) and x.ndim >= least for x in (student, bridged, teacher)) \
                and bridged.shape == teacher.shape:
            yield Pair(name, student, bridged, teacher)


def _filled(distiller: ConfigurableDistiller, own: dict, theirs: dict) -> bool:
    """Whether both recorders hold records; inputs of a loss are computed in training only."""
    return all(record.get('record_idx', 0) < len(recorders.get_recorder(
        record['recorder']).data_buffer) for record, recorders in (
            (own, distiller.student_recorders), (theirs, distiller.teacher_recorders)))


def _of_stages(algorithm: BaseModel, batch: Batch) -> Iterator[Pair]:
    if not isinstance(algorithm, FCFDDistill):
        return
    with algorithm.student_net.recording() as student, algorithm.teacher_net.recording() as teacher:
        _run(algorithm, batch)
    for k, (own, theirs) in enumerate(zip(student.features, teacher.features), start=1):
        if f's2t_{k}' in algorithm.bridges:
            yield Pair(f'stage {k}', own, algorithm.bridges[f's2t_{k}'](own), theirs)


def _of_heads(algorithm: BaseModel, batch: Batch) -> Iterator[Pair]:
    if not isinstance(algorithm, FCFDHead):
        return
    with algorithm.records['student'], algorithm.records['teacher']:
        _run(algorithm, batch)
    own, theirs = (algorithm.head(side).features(algorithm.records[side].get_recorder(
        'features').data_buffer[0]) for side in ('student', 'teacher'))
    for level, bridge in enumerate(algorithm.bridges['s2t']):
        name = f'level {level}' if len(own) > 1 else algorithm.place('student')
        yield Pair(name, own[level], bridge(own[level]), theirs[level])
