"""A picture of the study: what each row adds to the student alone."""
from pathlib import Path
from statistics import median
from typing import Dict, Iterable, Tuple

from mmdistill_ext.analysis import figures

from .stats import Gain


def draw(gains: Dict[str, Dict[str, Gain]], path: Path) -> None:
    """One panel a task, one line a row, the largest gain on top.

    Args:
        gains (dict[str, dict[str, Gain]]): Task, with its metric -> row -> what it adds.
        path (Path): The png to write.
    """
    heights = [1 + len(rows) for rows in gains.values()]  # a line a row, and the axis
    figure = figures.new(8, .3 * sum(heights) + .6)
    panels = figure.subplots(len(gains), height_ratios=heights, squeeze=False)[:, 0]
    for axes, (title, rows) in zip(panels, gains.items()):
        names = sorted(rows, key=lambda row: rows[row].mean)
        left, right = limits(rows.values())
        for place, gain in enumerate(rows[name] for name in names):
            axes.plot([gain.low, gain.high], [place, place], color=colour(gain), linewidth=2)
            axes.plot(gain.mean, place, 'o', color=colour(gain), markersize=5)
            if gain.mean < left:  # it failed
                axes.text(left, place, f' {gain.mean:+.1f} ({gain.low:+.1f} to {gain.high:+.1f})',
                          va='bottom', fontsize=8)
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(-.7, len(rows) - .3)
        axes.set_xlim(left, right)
        axes.axvline(0, color='black', linewidth=.8)
        axes.grid(axis='x', alpha=.3)
        # From the panel's right edge: long titles have all the width that the names take.
        axes.set_title(title, loc='right', fontsize=10)
    figures.save(figure, path)


def limits(gains: Iterable[Gain]) -> Tuple[float, float]:
    """An axis for all rows but those that failed, whose intervals would flatten every other."""
    gains = list(gains)
    usual = 10 * median(gain.high - gain.low for gain in gains)
    shown = [gain for gain in gains if gain.high - gain.low <= usual]
    low, high = min(gain.low for gain in shown), max(gain.high for gain in shown)
    margin = .05 * max(high, 0.) - .05 * min(low, 0.) or 1.  # nothing but zeros: still an axis
    return min(low, 0.) - margin, max(high, 0.) + margin


def colour(gain: Gain) -> str:
    """Blue where the whole interval is above zero, orange where it is below, grey else."""
    if gain.low > 0:
        return figures.BLUE
    return figures.ORANGE if gain.high < 0 else figures.GREY
