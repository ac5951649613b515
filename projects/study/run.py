"""Runs the cells that are missing, each in a process forked off one that has everything loaded."""
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import time
from typing import Any, Dict, Iterator, Optional, Sequence, Set

from .cells import Cell, Cells, teacher_cell


def run(cells: Cells, tasks: Sequence[str], rows: Optional[Sequence[str]], workers: int,
        minutes: float) -> bool:
    """Run what is missing until all is there or the time is up.

    Args:
        cells (Cells): All cells.
        tasks (Sequence[str]): Which tasks, in this order.
        rows (Sequence[str], optional): Which rows; all by default.
        workers (int): How many at a time, one thread each.
        minutes (float): No cell is started after so many.

    Returns:
        bool: Whether no cell failed.
    """
    load(cells, tasks)
    end = time.time() + 60 * minutes
    fork = multiprocessing.get_context('fork')
    running: Dict[Any, tuple] = {}
    failed: Set[Cell] = set()
    try:
        while True:
            while len(running) < workers and time.time() < end:
                busy = failed | {cell for _, cell, _ in running.values()}
                cell = next((c for c in wanted(cells, tasks, rows) if c not in busy), None)
                if cell is None:
                    break
                process = fork.Process(target=_work, args=(cells, cell))
                process.start()
                running[process.sentinel] = process, cell, time.time()
            if not running:
                return not failed
            for sentinel in multiprocessing.connection.wait(list(running)):
                process, cell, start = running.pop(sentinel)
                process.join()
                _say(cells, cell, start, failed)
    finally:
        for process, _, _ in running.values():
            process.terminate()
            process.join()


def wanted(cells: Cells, tasks: Sequence[str], rows: Optional[Sequence[str]]) -> Iterator[Cell]:
    """The cells that are missing and can be run now, the most important first.

    All methods wait for what the student alone chooses; every row comes to its figure before the
    next begins.
    """
    for task in tasks:
        yield from (cell for cell in cells.tuning(task, 'student') if not cells.result(cell))
    for task in tasks:
        for name, row in cells.tasks[task].rows.items():
            if rows and name not in rows or cells.chosen(task, 'student') is None:
                continue
            missing = [cell for cell in (*cells.tuning(task, name), *cells.seeds(task, name))
                       if not cells.result(cell)]
            if missing and row.teacher and not cells.has_weights(task, row.teacher):
                yield teacher_cell(task, row.teacher)
            else:
                yield from missing


def load(cells: Cells, tasks: Sequence[str]) -> None:
    """Import what cells import, and decode every picture, once for all processes."""
    from mmengine.registry import DATASETS, DefaultScope, init_default_scope
    from mmrazor.utils import register_all_modules
    register_all_modules(init_default_scope=False)
    for task in tasks:
        config = cells.config(Cell(task, 'student', 0))
        tune = cells.config(Cell(task, 'student', 0, split='tune'))
        init_default_scope(config.default_scope)
        for loader in (config.train_dataloader, config.val_dataloader, tune.val_dataloader):
            dataset = DATASETS.build(loader.dataset)
            for index in range(len(dataset)):
                dataset[index]
    DefaultScope._instance_dict.clear()


def _work(cells: Cells, cell: Cell) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    work_dir = cells.root / cell.folder
    shutil.rmtree(work_dir, ignore_errors=True)
    work_dir.mkdir(parents=True)
    with open(work_dir / 'output.txt', 'w') as output:
        os.dup2(output.fileno(), 1), os.dup2(output.fileno(), 2)
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            cells.train(cell)


def _say(cells: Cells, cell: Cell, start: float, failed: Set[Cell]) -> None:
    result = cells.result(cell)
    if result is None:
        failed.add(cell)
        text = f'FAILED, see {cells.root / cell.folder / "output.txt"}'
    else:
        task = cells.tasks[cell.task]
        text = f'{task.metric_name} {task.scale * result["value"]:.2f}'
    print(f'{cell.folder:<40} {text}  {time.time() - start:.0f} s', flush=True)
