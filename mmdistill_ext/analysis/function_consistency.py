"""Function consistency of student and teacher: accuracy and KL of the mixed paths."""
from itertools import islice
from pathlib import Path as File
from typing import Dict, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

import torch
from matplotlib.patches import Patch
from torch import Tensor

from ..models.fcfd import FCFDDistill
from ..models.fcfd.features import Record
from ..models.fcfd.paths import Path
from ..models.losses.feature_l2 import feature_mse
from ..models.losses.kd import kl_divergence
from . import figures
from .loading import prepare
from .tables import Table

__all__ = ['calibrate', 'measure']

ENDS = {'s2t': 'teacher', 't2s': 'student'}  # the network that a path ends in
LR = 1e-2  # for bridges that are fitted, with Adam


class Row(NamedTuple):
    """Accuracy and KL of one path.

    Args:
        name (str): 'teacher', 'student', or a mixed path's name.
        accuracy (float): Top-1 in percent.
        kl_teacher (float): KL of its outputs to the teacher's, mean over the images.
        kl_own (float): KL to the pure path of the network that it ends in.
    """
    name: str
    accuracy: float
    kl_teacher: float
    kl_own: float


def pure_paths(algorithm: FCFDDistill, batch: dict) -> Tuple[Record, Record, Tensor]:
    """Student and teacher on a batch of a dataloader, as they are in evaluation; the labels."""
    ready = prepare(algorithm, batch)
    with torch.no_grad(), algorithm.student_net.recording() as student, \
            algorithm.teacher_net.recording() as teacher:
        algorithm.student(ready.student)
        algorithm.teacher(ready.teacher)
    labels = torch.cat([sample.gt_label for sample in ready.samples])
    dtype = torch.float if algorithm.teacher_dtype else None
    return student, teacher.detached(dtype), labels.to(ready.student.device)


def enter(algorithm: FCFDDistill, path: Path, student: Record, teacher: Record) -> Tensor:
    """The output of a path's bridge."""
    source = student if path.direction == 's2t' else teacher
    return algorithm.bridges[path.name](source.features[path.k - 1])


def measure(algorithm: FCFDDistill, batches: Iterable[dict], paths: Sequence[Path]) -> List[Row]:
    """Accuracy and KL of the pure paths and of every mixed one.

    Args:
        algorithm (FCFDDistill): Its statistics per path are used where there are any.
        batches (Iterable[dict]): Of a dataloader with labels.
        paths (Sequence[Path]): The mixed ones.
    """
    algorithm.eval()
    sums: Dict[str, Tensor] = {}
    count = 0
    for batch in batches:
        student, teacher, labels = pure_paths(algorithm, batch)
        pure = dict(teacher=teacher.logits, student=student.logits)
        outputs = {name: (logits, logits) for name, logits in pure.items()}
        with torch.no_grad():
            for path in paths:
                logits = algorithm.run_path(path, enter(algorithm, path, student, teacher))[-1]
                outputs[path.name] = logits, pure[ENDS[path.direction]]
        for name, (logits, own) in outputs.items():
            logits, own = logits.double(), own.double()
            right = (logits.argmax(1) == labels).double().mean() * 100
            kls = [kl_divergence(logits, goal.double()) for goal in (teacher.logits, own)]
            sums[name] = sums.get(name, 0) + len(labels) * torch.stack([right, *kls]).cpu()
        count += len(labels)
    return [Row(name, *(total / count).tolist()) for name, total in sums.items()]


def calibrate(algorithm: FCFDDistill, batches: Iterable[dict], paths: Sequence[Path],
              bridges: Sequence[Path], steps: int) -> None:
    """Fit bridges and collect statistics for two networks not trained with these paths.

    The networks are not changed. A bridge is fitted to the other network's feature by MSE; then
    the paths' BatchNorm layers see ``steps`` batches to gather their statistics, as the paper
    does before it tests.

    Args:
        algorithm (FCFDDistill): Changed in place, only in ``bridges`` and ``path_stats``.
        batches (Iterable[dict]): Of the training set; begun anew when it ends.
        paths (Sequence[Path]): Those that lack statistics.
        bridges (Sequence[Path]): Those that lack a bridge.
        steps (int): Batches for each of both.
    """
    algorithm.eval()
    if bridges:
        _fit(algorithm, islice(_endless(batches), steps), bridges)
    for batch in islice(_endless(batches), steps):
        student, teacher, _ = pure_paths(algorithm, batch)
        for path in paths:
            _gather(algorithm, path, enter(algorithm, path, student, teacher))


def _fit(algorithm: FCFDDistill, batches: Iterable[dict], bridges: Sequence[Path]) -> None:
    modules = [algorithm.bridges[path.name].train() for path in bridges]
    optimizer = torch.optim.Adam([p for module in modules for p in module.parameters()], LR)
    for batch in batches:
        student, teacher, _ = pure_paths(algorithm, batch)
        optimizer.zero_grad()
        for path in bridges:
            goal = teacher if path.direction == 's2t' else student
            feature_mse(enter(algorithm, path, student, teacher),
                        goal.features[path.k - 1]).backward()
        optimizer.step()
    for module in modules:
        module.eval()


@torch.no_grad()
def _gather(algorithm: FCFDDistill, path: Path, feature: Tensor) -> None:
    norms = [layer for layer, _ in algorithm.path_stats.layers(path.name)]
    for norm in norms:
        norm.train()
    algorithm.run_path(path, feature)
    for norm in norms:
        norm.eval()


def _endless(batches: Iterable[dict]) -> Iterator[dict]:
    while True:
        yield from batches


def table(rows: Sequence[Row]) -> Table:
    """The csv's columns."""
    return Table(['path', 'top-1 (%)', 'KL to the teacher', "KL to its network's own"], rows)


def draw(rows: Sequence[Row], file: File) -> None:
    """Two panels of bars, accuracy and KL to the teacher; a colour for each network."""
    colours = [figures.TEACHER if row.name.startswith(('teacher', 's2t')) else figures.STUDENT
               for row in rows]
    figure = figures.new(9, 0.9 + 0.34 * len(rows))
    for axes, values, title in zip(
            figure.subplots(1, 2, sharey=True),
            ([row.accuracy for row in rows], [row.kl_teacher for row in rows]),
            ('top-1 (%)', 'KL to the teacher')):
        bars = axes.barh([row.name for row in rows], values, color=colours)
        axes.bar_label(bars, fmt='%.3g', padding=2, fontsize=9)
        axes.set_xlabel(title)
        axes.margins(x=0.15)
    axes.invert_yaxis()
    ends = [Patch(color=colour, label=f"ends in the {network}'s classifier") for colour, network in
            ((figures.TEACHER, 'teacher'), (figures.STUDENT, 'student'))]
    figure.legend(handles=ends, loc='outside upper center', ncols=2, frameon=False, fontsize=9)
    figures.save(figure, file)
