"""Learning curves of several runs in one picture."""
from pathlib import Path
from typing import Dict, Sequence

from matplotlib.ticker import MaxNLocator

from . import figures
from .run_folders import Points, Run
from .tables import Table


def table(runs: Sequence[Run]) -> Table:
    """The csv: a row for every validation of every seed."""
    return Table(['run', 'seed', 'step', 'unit', 'metric', 'value'], [
        [run.name, seed, step, run.unit, run.metric, value]
        for run in runs for seed, points in enumerate(run.curves) for step, value in points])


def summary(runs: Sequence[Run]) -> Table:
    """What is shown on the screen."""
    return Table(['run', 'seeds', 'metric', 'last', 'best'], [
        [run.name, len(run.curves), run.metric, run.points[-1][1],
         max(value for _, value in run.points)] for run in runs])


def draw(curves: Dict[str, Points], metric: str, unit: str, path: Path) -> None:
    """One line a run: the metric on the validation data.

    Args:
        curves (dict[str, Points]): Name of the run -> its curve.
        metric (str): With its unit.
        unit (str): Of the steps, 'epoch' or 'iteration'.
        path (Path): The png to write.
    """
    figure = figures.new(7.5, max(4., .6 + .22 * len(curves)))
    axes = figure.add_subplot()
    for index, (name, points) in enumerate(curves.items()):
        axes.plot(*zip(*points), label=name, marker='.' if len(points) < 40 else '',
                  linewidth=1.7, **figures.line_style(index))
    axes.set(xlabel=unit, ylabel=metric)
    axes.xaxis.set_major_locator(MaxNLocator(nbins='auto', integer=True))
    axes.grid(alpha=.3)
    figure.legend(loc='outside right upper', frameon=False, fontsize=9)
    figures.save(figure, path)
