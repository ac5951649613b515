"""The study's page: every row as it came out, and what has not been run."""
import os
import platform
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import torch

from mmdistill_ext.analysis.tables import write_between

from . import picture as study_picture
from .cells import Cells, teacher_cell
from .rows import Task
from .stats import Gain, gain_by_seed, mean_and_deviation

NOT_YET = 'Not run yet'


def write_page(cells: Cells, page: Path, marker: str, picture: str) -> None:
    """Put a picture and the tables of all tasks between the markers of a page.

    Args:
        cells (Cells): What has been run.
        page (Path): The page.
        marker (str): Between which the tables stand.
        picture (str): The png to write, as the page names it.
    """
    lines = [f'torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores, one thread '
             'a run.', '']
    drawn = {}
    for name, task in cells.tasks.items():
        figures = {row: figures_of(cells, name, row) for row in task.rows}
        gains = gains_of(task, figures)
        lines += task_lines(cells, name, figures, gains)
        if gains:
            drawn[f'{task.title}: points of {task.metric_name} added to the student alone'] = {
                task.rows[row].title: gain for row, gain in gains.items()}
    if drawn:
        study_picture.draw(drawn, page.parent / picture)
        lines[2:2] = [f'![what each row adds to the student alone, 95% intervals]({picture})', '']
    write_between(page, marker, '\n'.join(lines))


def gains_of(task: Task, figures: Dict[str, Dict[int, float]]) -> Dict[str, Gain]:
    """What each row adds, where it and the student alone have figures."""
    gains = {}
    for row, values in figures.items():
        alone = task.rows[row].alone
        if row != alone and (gain := gain_by_seed(values, figures[alone])):
            gains[row] = gain
    return gains


def task_lines(cells: Cells, name: str, figures: Dict[str, Dict[int, float]],
               gains: Dict[str, Gain]) -> List[str]:
    """One task: its table, which rows are sure to help, how the networks learn."""
    task = cells.tasks[name]
    config = cells.config(teacher_cell(name, 'student'))
    lines = [f'### {task.title}', '',
             f'{task.data}, {config.train_cfg.max_epochs} epochs, {task.seeds} seeds.',
             '']
    lines += [f'| | {task.metric_name} | gain, 95% interval | chosen | {task.metric_name} on the '
              'tune split with each value | s/step | paper |', '|---|---|---|---|---|---|---|']
    lines += [_teacher_line(cells, name, row) for row in task.teachers]
    lines += [_line(cells, name, row, values, gains.get(row))
              for row, values in figures.items() if values]
    lines += ['', *_verdict(task, figures, gains),
              *pair_lines(task.rows, figures, task.pairs), *_ends(cells, name, figures), '',
              *_curves(cells, name), '']
    return lines


def figures_of(cells: Cells, task: str, row: str) -> Dict[int, float]:
    """What a row reached on the test split, by seed; nothing before all are there."""
    figures = {cell.seed: cells.tasks[task].scale * result['value']
               for cell in cells.seeds(task, row) if (result := cells.result(cell))}
    return figures if len(figures) == cells.tasks[task].seeds else {}


def _teacher_line(cells: Cells, task: str, name: str) -> str:
    result, row = cells.result(teacher_cell(task, name)), cells.tasks[task].teachers[name]
    value = f'{cells.tasks[task].scale * result["value"]:.2f}, one seed' if result else '-'
    return f'| {row.title} | {value} | | | | {_step(result)} | |'


def _line(cells: Cells, task: str, name: str, values: Dict[int, float],
          gain: Optional[Gain]) -> str:
    row, first = cells.tasks[task].rows[name], cells.seeds(task, name)[0]
    text = ' '.join(f'{value:g}: {cells.tasks[task].scale * reached:.1f}'
                    for value, reached in cells.tried(task, name).items())
    number = f'{first.value:g}' if row.values or row.like else ''
    return (f'| {row.title} | {mean_text(list(values.values()))} | {gain_text(gain)} '
            f'| {number} | {text} | {_step(cells.result(first))} | {row.paper} |')


def mean_text(values: List[float]) -> str:
    """A mean and its deviation; of one run its figure."""
    if not values:
        return '-'
    if len(values) == 1:
        return f'{values[0]:.2f}'
    mean, deviation = mean_and_deviation(values)
    return f'{mean:.2f} ± {deviation:.2f}'


def gain_text(gain: Optional[Gain]) -> str:
    """A gain and its interval, bold where all of it is above zero."""
    if gain is None:
        return ''
    text = f'{gain.mean:+.2f} ({gain.low:+.2f} to {gain.high:+.2f})'
    return f'**{text}**' if gain.low > 0 else text


def _step(result: Optional[dict]) -> str:
    return f'{result["step"]:.3f}' if result else ''


def _verdict(task: Task, figures: Dict[str, Dict[int, float]],
             gains: Dict[str, Gain]) -> List[str]:
    rows = task.rows
    groups: Dict[str, List[str]] = {
        'Better than the student alone, the whole interval above zero': [
            rows[row].title for row, gain in gains.items() if gain.low > 0],
        'Worse, the whole interval below zero': [
            rows[row].title for row, gain in gains.items() if gain.high < 0],
        'Undecided': [
            rows[row].title for row, gain in gains.items() if gain.low <= 0 <= gain.high],
        NOT_YET: [rows[row].title for row, values in figures.items() if not values]}
    return [f'- {text}: {"; ".join(names)}.' for text, names in groups.items() if names]


def pair_lines(rows: Mapping[str, Any], figures: Dict[str, Dict[int, float]],
               pairs: Sequence[Tuple[str, str]]) -> List[str]:
    """How far rows differ from each other, where both have figures.

    Args:
        rows (dict): Name -> a row with a title.
        figures (dict[str, dict]): What each row reached, by seed.
        pairs (Sequence[tuple[str, str]]): Names of two rows.
    """
    texts = [f'{rows[ours].title} over {rows[theirs].title} {gain_text(gain)}'
             for ours, theirs in pairs
             if (gain := gain_by_seed(figures[ours], figures[theirs]))]
    return [f'- One row over another, paired by seed: {"; ".join(texts)}.'] if texts else []


def _ends(cells: Cells, task: str, figures: Dict[str, Dict[int, float]]) -> List[str]:
    """Rows that wider values might have served better."""
    names = [row.title for name, row in cells.tasks[task].rows.items() if figures[name]
             and row.values and cells.chosen(task, name) in (min(row.values), max(row.values))]
    text = 'Chosen at the end of the values tried, others might be better still'
    return [f'- {text}: {"; ".join(names)}.'] if names else []


def _curves(cells: Cells, task: str) -> List[str]:
    """How the teachers and the student that trains twice as long learn, epoch by epoch."""
    lines = []
    runs = {row.title: cells.result(teacher_cell(task, name))
            for name, row in cells.tasks[task].teachers.items()}
    for name, row in cells.tasks[task].rows.items():
        if row.like == 'student' and cells.seeds(task, name):
            runs[f'{row.title}, seed 0'] = cells.result(cells.seeds(task, name)[0])
    for title, result in runs.items():
        if result:
            points = ', '.join(f'{epoch}: {cells.tasks[task].scale * value:.1f}'
                               for epoch, value in result['curve'])
            lines.append(f'- {title}, test {cells.tasks[task].metric_name} by epoch: {points}.')
    return lines
