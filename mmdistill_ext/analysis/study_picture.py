"""A picture of the study: what each row adds to the student alone."""
from pathlib import Path
from typing import Dict

from . import figures
from .study_stats import Gain


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
        for place, (row, gain) in enumerate(sorted(rows.items(), key=lambda item: item[1].mean)):
            axes.plot([gain.low, gain.high], [place, place], color=colour(gain), linewidth=2)
            axes.plot(gain.mean, place, 'o', color=colour(gain), markersize=5)
        axes.set_yticks(range(len(rows)), sorted(rows, key=lambda row: rows[row].mean))
        axes.set_ylim(-.7, len(rows) - .3)
        axes.axvline(0, color='black', linewidth=.8)
        axes.grid(axis='x', alpha=.3)
        axes.set_title(title, loc='left', fontsize=10)
    figures.save(figure, path)


def colour(gain: Gain) -> str:
    """Blue where the whole interval is above zero, orange where it is below, grey else."""
    if gain.low > 0:
        return figures.BLUE
    return figures.ORANGE if gain.high < 0 else figures.GREY
