"""The embedded data in a few lines: what each method adds in each task, all else on their page."""
from pathlib import Path

from mmdistill_ext.analysis.tables import Table, write_between

from .cells import Cells
from .page import figures_of, gain_text, gains_of, mean_text

TASKS = ('cls', 'seg', 'det')
# What the tasks call alike is one line; the rest, with the choices, is on the data's own page.
ROWS = dict(
    mlp='channel MLP', linear='linear transform', identity='L2 without transform', fcfd='FCFD',
    kd='KD (MMRazor)', cwd='CWD (MMRazor)', pkd='PKD (MMRazor)', mgd='MGD (MMRazor)', tffd='Tf-FD',
    student_2x='student alone, twice as long')


def write_short(cells: Cells, page: Path) -> None:
    """Put one table of all three tasks between the markers ``embedded`` of a page.

    Args:
        cells (Cells): What has been run.
        page (Path): The page.
    """
    tasks = [cells.tasks[name] for name in TASKS]
    figures = [{row: figures_of(cells, name, row) for row in task.rows}
               for name, task in zip(TASKS, tasks)]
    gains = [gains_of(task, values) for task, values in zip(tasks, figures)]
    alone = [mean_text(list(values['student'].values())) for values in figures]
    table = Table(
        ['gain over the student alone, 95% interval',
         *(f'{task.title} ({task.metric_name})' for task in tasks)],
        [['student alone', *alone],
         *([title, *(gain_text(gain.get(row)) for gain in gains)] for row, title in ROWS.items())])
    write_between(page, 'embedded', table.markdown())
