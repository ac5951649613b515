"""A cell of the study: one training run, kept in a folder until something it is made of changes."""
import copy
import functools
import hashlib
import json
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Optional

from mmengine.config import Config

from mmdistill_ext.analysis.runs import (
    curve,
    last_checkpoint,
    read_scalars,
    seconds_per_step,
    write_whole,
)

from . import logs
from .rows import CONFIGS, Row, Task

RESULT = 'result.json'


@dataclass(frozen=True)
class Cell:
    """One run.

    Args:
        task (str): The name of a task; also the name of its config.
        row (str): Name of the row.
        seed (int): Of the initial weights and the order of the data.
        value (float): The row's number; 0 where it has none.
        split (str): What it is judged on: 'tune' or 'test'.
    """
    task: str
    row: str
    seed: int
    value: float = 0.
    split: str = 'test'

    @property
    def folder(self) -> str:
        """Where it lives below the study's work_dir."""
        last = f'seed-{self.seed}' if self.split == 'test' else f'tune-{self.value:g}-{self.seed}'
        return f'{self.task}/{self.row}/{last}'


def teacher_cell(task: str, row: str) -> Cell:
    return Cell(task, row, seed=0)


class Cells:
    """Configs and results of all cells below one work_dir.

    Args:
        tasks (dict[str, Task]): All tasks.
        root (Path): Work_dir of the study.
        manifests (dict[str, str]): What each task's data is made of.
        options (dict, optional): Changes to every cell's config.
        record (Path, optional): Results of cells that were run elsewhere.
    """

    def __init__(self, tasks: Dict[str, Task], root: Path, manifests: Dict[str, str],
                 options: Optional[Dict[str, Any]] = None, record: Optional[Path] = None) -> None:
        self.tasks, self.root, self.manifests = tasks, root, manifests
        self.options = options or {}
        self.recorded = json.loads(record.read_text()) if record and record.is_file() else {}
        self.made_of = functools.lru_cache(None)(self._made_of)

    def row(self, cell: Cell) -> Row:
        task = self.tasks[cell.task]
        return {**task.teachers, **task.rows}[cell.row]

    def config(self, cell: Cell) -> Config:
        """The config of one run, as ``tools/train.py`` would take it."""
        config, row = copy.deepcopy(base(cell.task)), self.row(cell)
        changes = {**self.best_of_student(cell), **row.changes(cell.value)}
        algorithm = changes.pop('model', None)
        config.model = config.student
        if cell.row in self.tasks[cell.task].teachers:
            config.model = config[cell.row]
        else:
            config.default_hooks.checkpoint = None
        if algorithm:
            config.model = dict(_scope_='mmrazor', architecture=config.student, **algorithm)
        if row.teacher:
            config.model.teacher = config[row.teacher]
            config.model.teacher_ckpt = str(self.checkpoint(cell.task, row.teacher))
        for name in ('student', 'teacher', 'deep_teacher', 'weak_teacher', 'pipeline'):
            config.pop(name, None)  # the other networks are no part of this run
        data = self.tasks[cell.task].data
        config.merge_from_dict({**data.options(), **changes, **self.options,
                                'randomness.seed': cell.seed})
        if cell.split == 'tune':
            to_tune(config, data.test, data.tune)
        config.work_dir = str(self.root / cell.folder)
        return config

    def best_of_student(self, cell: Cell) -> Dict[str, Any]:
        """The weight decay that serves the student alone best is that of every method."""
        if cell.row == 'student' or cell.row in self.tasks[cell.task].teachers:
            return {}
        value = self.chosen(cell.task, 'student')
        return {} if value is None else self.tasks[cell.task].rows['student'].changes(value)

    def checkpoint(self, task: str, teacher: str) -> Path:
        """The weights of a teacher."""
        folder = self.root / teacher_cell(task, teacher).folder
        found = last_checkpoint(folder)
        # By its name: a work_dir that was moved still holds the path where it was.
        return folder / (found.name if found else 'missing.pth')

    def has_weights(self, task: str, teacher: str) -> bool:
        """Whether a teacher is trained to its end, and here.

        Its figure may be one from elsewhere, while here it is being trained for its weights.
        """
        cell, weights = teacher_cell(task, teacher), self.checkpoint(task, teacher)
        last = f'epoch_{self.config(cell).train_cfg.max_epochs}.pth'
        return bool(self.result(cell)) and weights.name == last and weights.is_file()

    def _made_of(self, cell: Cell) -> str:
        """Changes with the config, the data and the teacher, and with nothing else."""
        config = self.config(cell).to_dict()
        config.pop('work_dir')
        config['model'].pop('teacher_ckpt', None)
        parts = [json.dumps(config, sort_keys=True, default=str), self.manifests[cell.task]]
        teacher = self.row(cell).teacher
        if teacher:
            parts.append(self.made_of(teacher_cell(cell.task, teacher)))
        return hashlib.sha256('\n'.join(parts).encode()).hexdigest()

    def result(self, cell: Cell) -> Optional[dict]:
        """What a finished cell gave, or None."""
        path = self.root / cell.folder / RESULT
        result = json.loads(path.read_text()) if path.is_file() else \
            self.recorded.get(cell.folder)
        return result if result and result['made_of'] == self.made_of(cell) else None

    def all(self) -> List[Cell]:
        """Every cell that is known: seeds are, once a row's number is chosen."""
        return [cell for task, content in self.tasks.items() for cell in (
            *(teacher_cell(task, row) for row in content.teachers),
            *(cell for row in content.rows
              for cell in (*self.tuning(task, row), *self.seeds(task, row))))]

    def write_record(self, path: Path) -> None:
        """All results in one file, a line each."""
        lines = [f'{json.dumps(cell.folder)}: {json.dumps(result)}'
                 for cell in self.all() if (result := self.result(cell))]
        write_whole(path, '{\n' + ',\n'.join(lines) + '\n}\n')

    def write_logs(self, folder: Path) -> None:
        """The log of each run that was made here and fits."""
        for cell in self.all():
            work_dir = self.root / cell.folder
            if (work_dir / RESULT).is_file() and self.result(cell):
                logs.keep(work_dir, folder)

    def chosen(self, task: str, row: str) -> Optional[float]:
        """The best value on the tune split; None while a value has not been tried."""
        row = self.tasks[task].rows[row].like or row
        tried = self.tried(task, row)
        if len(tried) < len(self.tasks[task].rows[row].values):
            return None
        return max(tried, key=tried.__getitem__) if tried else 0.

    def tried(self, task: str, row: str) -> Dict[float, float]:
        """Value -> mean of what it reached on the tune split, where all runs are there."""
        reached: Dict[float, List[float]] = {}
        for cell in self.tuning(task, row):
            if (result := self.result(cell)) is not None:
                reached.setdefault(cell.value, []).append(result['value'])
        return {value: statistics.fmean(figures) for value, figures in reached.items()
                if len(figures) == len(self.tasks[task].tune_seeds)}

    def tuning(self, task: str, row: str) -> list:
        """The cells that a row's number is chosen by."""
        return [Cell(task, row, seed, value, 'tune') for seed in self.tasks[task].tune_seeds
                for value in self.tasks[task].rows[row].values]

    def seeds(self, task: str, row: str) -> list:
        """The cells that make a row's figure; none before its number is chosen."""
        value = self.chosen(task, row)
        if value is None:
            return []
        first = Cell(task, row, 0, value)
        return [replace(first, seed=seed) for seed in range(self.tasks[task].seeds)]

    def train(self, cell: Cell) -> None:
        """Run a cell in this process and keep what comes out."""
        from mmengine.runner import Runner, set_random_seed
        work_dir, metric = self.root / cell.folder, self.tasks[cell.task].metric
        runner = Runner.from_cfg(self.config(cell))
        # What was built beside the student has drawn numbers too; the student comes first in
        # init_weights, so from here it starts from the same weights in every row.
        set_random_seed(cell.seed)
        runner.train()
        # CocoMetric gives no number where nothing at all is detected: an AP of 0.
        scalars = read_scalars(work_dir)
        points = curve(scalars, metric) or [(0, 0.)]
        result = dict(value=points[-1][1], curve=points, step=seconds_per_step(scalars),
                      made_of=self.made_of(cell))
        write_whole(work_dir / RESULT, json.dumps(result))


@functools.lru_cache(None)
def base(task: str) -> Config:
    """A task's config; its model is the student alone."""
    return Config.fromfile(CONFIGS / f'{task}.py')


def to_tune(config: Config, test: str, tune: str) -> None:
    """Judge on the tune split: each path of the validation that names the test split."""
    def swap(value: Any) -> Any:
        if isinstance(value, dict):
            return type(value)({key: swap(each) for key, each in value.items()})
        return value.replace(test, tune) if isinstance(value, str) else value
    dataset, evaluator = config.val_dataloader.dataset, config.val_evaluator
    for key in ('data_prefix', 'ann_file'):
        if key in dataset:
            dataset[key] = swap(dataset[key])
    if 'ann_file' in evaluator:
        evaluator['ann_file'] = swap(evaluator['ann_file'])
