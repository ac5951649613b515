"""Content of a report: for each metric a table and curves of the runs, and their pictures."""
import csv
import os
import statistics
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from . import run_folders
from .report_page import Curves, Picture, Section
from .run_folders import Run
from .tables import Cell, Table

# Of the pictures of tools/analysis; all others are called by their file's name.
CAPTIONS = dict(
    distances="how far the student's features are from the teacher's",
    tsne="features of teacher and student in one map",
    function_consistency="each network's features in the other network",
    salience='how strong the channels are',
    gradcam='where the networks look',
    predictions='what the networks say, picture by picture')
CLOSENESS = dict(distance="L2 distance to the teacher, divided by the teacher's norm",
                 cka='linear CKA with the teacher',
                 accuracy='accuracy of the networks and of each mixed path')
ROWS = 60  # of a csv that is shown; a longer one is for programs


def sections(folders: Sequence[Path], metric: Optional[str] = None) -> List[Section]:
    """Everything that a page shows of runs.

    Args:
        folders (Sequence[Path]): Work dirs of runs, or folders that hold several.
        metric (str, optional): Which metric. Defaults to the usual one of each run's task.
    """
    runs = run_folders.find(folders, metric)
    found = [of_metric(metric, [run for run in runs if (run.metric, run.unit) == (metric, unit)])
             for metric, unit in dict.fromkeys((run.metric, run.unit) for run in runs)]
    units = {run.name: run.unit for run in runs}
    for (name, kind), curves in run_folders.closeness(folders).items():
        unit = units.get(name.split(' seed')[0], 'epoch')
        found.append(Section(f'{name}: {CLOSENESS[kind]}', curves=Curves(curves, kind, unit)))
    for title, pictures in pictures_below(folders):
        found.append(Section(title, pictures=pictures))
    return found


def of_metric(metric: str, runs: List[Run]) -> Section:
    """The table and the curves of the runs that have a metric."""
    seeds = any(len(run.curves) > 1 for run in runs)
    unit = runs[0].unit
    rows: List[List[Cell]] = []
    for run in runs:
        best = max(value for _, value in run.points)
        rows.append([run.name, _spread(run.last), best, *([len(run.curves)] if seeds else []),
                     run.points[-1][0], run.step])
    columns = ['run', metric, 'best', *(['seeds'] if seeds else []), f'{unit}s',
               'seconds per step']
    text = 'Mean ± standard deviation of the seeds; curves are means.' if seeds else ''
    return Section(metric, text, Table(columns, rows),
                   Curves({run.name: run.points for run in runs}, metric, unit))


def _spread(values: List[float]) -> str:
    if len(values) == 1:
        return f'{values[0]:.4g}'
    return f'{statistics.fmean(values):.4g} ± {statistics.stdev(values):.2g}'


def pictures_below(folders: Sequence[Path]) -> List[Tuple[str, List[Picture]]]:
    """For each folder with pictures its name and those: what the analysis tools drew."""
    found = []
    tops = [Path(folder).resolve() for folder in folders]
    above = os.path.commonpath([top.parent for top in tops])
    for top in tops:
        for folder in [top, *sorted(path for path in top.rglob('analysis') if path.is_dir())]:
            # The learning curves are on the page already, for both colour schemes.
            pictures = [Picture(path, _caption(path), _small_table(path.with_suffix('.csv')))
                        for path in sorted(folder.glob('*.png')) if path.stem != 'curves']
            if pictures:
                owner = folder.parent if folder.name == 'analysis' else folder
                # Of several folders, each may have a run of the same name.
                start = above if len(tops) > 1 or owner == top else top
                found.append((os.path.relpath(owner, start), pictures))
    return found


def _caption(path: Path) -> str:
    return CAPTIONS.get(path.stem, path.stem.replace('_', ' '))


def _small_table(path: Path) -> Optional[Table]:
    if not path.is_file():
        return None
    with open(path, newline='') as file:
        columns, *rows = csv.reader(file)
    if len(rows) > ROWS:
        return None
    return Table(columns, [[_number(cell) for cell in row] for row in rows])


def _number(cell: str):
    """A cell of the csv as a number, None or text."""
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell or None
