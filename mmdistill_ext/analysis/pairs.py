"""Where student and teacher meet: each pair of features that a distillation compares."""
from typing import Iterator, List, NamedTuple

import torch
from mmengine.model import BaseModel
from torch import Tensor

from ..errors import ConfigError
from ..models.algorithms import FCFDDistill
from ..models.algorithms.fcfd_head import FCFDHead
from ..models.distillers import LinkDistiller
from .loading import Batch, prepare


class Pair(NamedTuple):
    """One level of a link, or one bridge of FCFD, on a batch.

    Args:
        name (str): Of the link (with the level, where there are several) or of the stage.
        student (Tensor): What the student gives, [N, C_s, H, W] or [N, C_s].
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
        algorithm (BaseModel): Of ``LeanTeacherDistill``'s kind.
        batch (dict): As a dataloader gives it.
    """
    ready = prepare(algorithm, batch)
    with torch.no_grad():
        found = [pair for kind in (_of_links, _of_stages, _of_heads)
                 for pair in kind(algorithm, ready)]
    if not found:
        raise ConfigError(f'{type(algorithm).__name__} compares no feature of the student with the '
                          "teacher's; links that name a teacher, and FCFD's bridges to it, do")
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
        for number, level in enumerate(link.levels if link.teacher else ()):
            student = distiller.feature(True, **level['student'])
            teacher = distiller.feature(False, **level['teacher']).to(student.dtype)
            name = f'{link.name} {number}' if len(link.levels) > 1 else link.name
            yield Pair(name, student, distiller.bridged(link, level, student, teacher), teacher)


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
    own, theirs = (algorithm.features(side, algorithm.records[side].get_recorder(
        'features').data_buffer[0]) for side in ('student', 'teacher'))
    for level, bridge in enumerate(algorithm.bridges['s2t']):
        name = f'level {level}' if len(own) > 1 else algorithm.place('student')
        yield Pair(name, own[level], bridge(own[level]), theirs[level])
