"""How far the student's features are from the teacher's, before and after the connector."""
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence

import numpy as np
import torch
from mmengine.model import BaseModel
from torch import Tensor

from . import figures
from .pairs import Pair, pairs
from .tables import Table

__all__ = ['Distance', 'measure']


class Distance(NamedTuple):
    """The L2 distance at one place, as Table 6 of the channel paper compares it.

    Args:
        name (str): Of the pair.
        channels (tuple[int, int]): Of student and teacher.
        before (float, optional): ``|F_s - F_t| / |F_t|`` over all test pictures; None where the
            numbers of channels, or the sizes, differ.
        after (float): The same with the student's feature behind its connector.
        mse_before (float, optional): ``(F_s - F_t)^2``, mean over all elements.
        mse_after (float): The same behind the connector.
    """
    name: str
    channels: tuple
    before: Optional[float]
    after: float
    mse_before: Optional[float]
    mse_after: float


def measure(algorithm: BaseModel, batches: Iterable[dict]) -> List[Distance]:
    """Distances at every place where a distillation compares two features.

    Args:
        algorithm (BaseModel): With connectors as they were trained.
        batches (Iterable[dict]): Of a dataloader.
    """
    return of_pairs(pair for batch in batches for pair in pairs(algorithm, batch))


def of_pairs(found: Iterable[Pair]) -> List[Distance]:
    """Distances of pairs that have been run; those of one name belong together."""
    sums: Dict[str, Tensor] = {}  # squares: teacher, before, after; then elements
    channels = {}
    for pair in found:
        before = _squares(pair.student, pair.teacher) \
            if pair.student.shape == pair.teacher.shape else float('nan')
        numbers = [_squares(pair.teacher), before, _squares(pair.bridged, pair.teacher),
                   pair.teacher.numel()]
        sums[pair.name] = sums.get(pair.name, 0) + torch.tensor(numbers, dtype=torch.double)
        channels[pair.name] = pair.student.shape[1], pair.teacher.shape[1]
    rows = []
    for name, (teacher, before, after, count) in sums.items():
        values = [(before / teacher).sqrt(), (after / teacher).sqrt(), before / count,
                  after / count]
        rows.append(Distance(name, channels[name], *map(_number, values)))
    return rows


def _number(value: Tensor) -> Any:
    """A float, or None where the channels differ and there is nothing to compare."""
    return None if value.isnan() else value.item()


def _squares(a: Tensor, b: Optional[Tensor] = None) -> float:
    difference = a.double() if b is None else a.double() - b.double()
    return difference.square().sum().item()


def table(rows: Sequence[Distance]) -> Table:
    """The csv's columns."""
    return Table(
        ['place', 'student channels', 'teacher channels', 'L2 before / teacher norm',
         'L2 after / teacher norm', 'MSE before', 'MSE after'],
        [[row.name, *row.channels, *row[2:]] for row in rows])


def draw(rows: Sequence[Distance], path: Path) -> None:
    """Draw two bars for each place.

    Args:
        rows (Sequence[Distance]): What was measured.
        path (Path): The png to write.
    """
    labels = [f'{row.name}\n{row.channels[0]} → {row.channels[1]} channels' for row in rows]
    wide = max(1.3, .2 + .085 * max(len(row.name) for row in rows))  # inches for one of them
    figure = figures.new(max(5.8, 1.6 + wide * len(rows)), 3.6)
    axes = figure.add_subplot()
    place = np.arange(len(rows))
    both = any(row.before is not None for row in rows)
    fields = dict(before=figures.AMBER, after=figures.BLUE) if both else dict(after=figures.BLUE)
    for offset, (field, colour) in zip((-.2, .2) if both else (0, ), fields.items()):
        values = [getattr(row, field) for row in rows]
        bars = axes.bar(place + offset, [value or 0 for value in values], .38, color=colour,
                        label=f'{field} the connector')
        axes.bar_label(bars, ['–' if value is None else f'{value:.2f}' for value in values],
                       padding=2, fontsize=9, zorder=3,
                       bbox=dict(facecolor='white', edgecolor='none', pad=.5))
    axes.axhline(1, color=figures.GREY, linewidth=1, linestyle=':',
                 label='a feature of zeros')
    axes.set_xticks(place, labels, fontsize=9)
    axes.set_ylabel("L2 distance / teacher's norm")
    axes.margins(y=.12)
    figure.legend(fontsize=9, loc='outside upper center', ncols=3, frameon=False,
                  columnspacing=1.2)
    if any(row.before is None for row in rows):
        axes.set_xlabel('before the connector there is no distance where channels differ',
                        fontsize=9)
    axes.set_xlim(-.75, len(rows) - .25)  # one bar alone would be as wide as the picture
    figures.save(figure, path)
