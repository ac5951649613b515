"""The embedded data in a few lines: what each method adds in each task, all else on their page."""
from pathlib import Path
from typing import List

from mmdistill_ext.analysis.tables import write_between

from .cells import Cells
from .page import figures_of, gain_text, gains_of, mean_text

TASKS = ('cls', 'seg', 'det')
# What the tasks call alike is one line; the rest, with the choices, is on the data's own page.
ROWS = ('mlp', 'linear', 'identity', 'fcfd', 'kd', 'cwd', 'pkd', 'mgd', 'tffd', 'student_2x')


def write_short(cells: Cells, page: Path) -> None:
    """Put one table of all three tasks between the markers ``embedded`` of a page.

    Args:
        cells (Cells): What has been run.
        page (Path): The page.
    """
    figures = {task: {row: figures_of(cells, task, row) for row in cells.tasks[task].rows}
               for task in TASKS}
    gains = {task: gains_of(cells.tasks[task], figures[task]) for task in TASKS}
    heads = [f'{cells.tasks[task].title} ({cells.tasks[task].metric_name})' for task in TASKS]
    lines = [_line('gain over the student alone, 95% interval', heads), '|---' * 4 + '|',
             _line('student alone', [mean_text(list(figures[task]['student'].values()))
                                     if figures[task]['student'] else '' for task in TASKS])]
    for row in ROWS:
        title = next(cells.tasks[task].rows[row].title for task in reversed(TASKS)
                     if row in cells.tasks[task].rows)
        title = 'student alone, twice as long' if row == 'student_2x' else title
        lines.append(_line(title, [gain_text(gains[task].get(row)) for task in TASKS]))
    write_between(page, 'embedded', '\n'.join(lines))


def _line(name: str, texts: List[str]) -> str:
    return f'| {name} | {" | ".join(texts)} |'
