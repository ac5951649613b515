"""Trains the demo's runs one by one, so that nothing is done twice and nothing stale is kept."""
import hashlib
import json
import shutil
import subprocess
import sys
import time
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
from mmdistill_ext.errors import ConfigError

from ..where import HOME
from .rows import CONFIGS, Row, Task

TOOLS = HOME / 'tools'
# In every run's folder: what it is made of, and what came out once it is finished.
MADE_OF, RESULT = 'made_of.txt', 'result.json'


class RowFailed(ConfigError):
    """A run ended with an error; the message says where its output is."""


def train_rows(task: Task, out: Path, manifest: str,
               options: Optional[Dict[str, Any]] = None) -> Dict[str, dict]:
    """Train what is not trained yet.

    A run that is finished and was made of the same config, data and teacher is left as it is, one
    that was interrupted goes on, and one that was made of something else starts anew.

    Args:
        task (Task): An entry of ``TASKS``.
        out (Path): Work_dir of the demo.
        manifest (str): What the data set is made of.
        options (dict, optional): Changes to every run's config, such as
            ``{'train_cfg.max_epochs': 1}``.

    Returns:
        dict[str, dict]: Name of the row -> its result: 'value' and 'curve' of the metric,
        'step' in seconds, 'checkpoint', 'made_of'.
    """
    results: Dict[str, dict] = {}
    for row in task.rows:
        changes, made_of = dict(options or {}), manifest
        if row.needs_teacher:
            changes['model.teacher_ckpt'] = results['teacher']['checkpoint']
            made_of += results['teacher']['made_of']
        config = load_config(row, changes)
        made_of = hashlib.sha256((made_of + config.pretty_text).encode()).hexdigest()
        work_dir = out / row.name
        _keep_or_clear(work_dir, made_of)
        if not (work_dir / RESULT).is_file():
            result = _train(task, row, work_dir, config, changes)
            write_whole(work_dir / RESULT, json.dumps(dict(result, made_of=made_of)))
        results[row.name] = json.loads((work_dir / RESULT).read_text())
        say(row.name, f'{task.metric_name} {task.scale * results[row.name]["value"]:.1f}', 'done')
    return results


def load_config(row: Row, changes: Dict[str, Any]) -> Config:
    """A row's config with changes."""
    config = Config.fromfile(CONFIGS / row.config)
    config.merge_from_dict(changes)
    return config


def say(name: str, *words: str) -> None:
    print(f'{name:<14}', *words, flush=True)


def _keep_or_clear(work_dir: Path, made_of: str) -> None:
    """Leave an empty work_dir, or one whose run is made of the same."""
    mark = work_dir / MADE_OF
    if work_dir.exists() and not (mark.is_file() and mark.read_text() == made_of):
        say(work_dir.name, 'was made of another config, data set or teacher: starting anew')
        shutil.rmtree(work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    write_whole(mark, made_of)


def _train(task: Task, row: Row, work_dir: Path, config: Config, changes: Dict[str, Any]) -> dict:
    arguments = [str(CONFIGS / row.config), '--work-dir', str(work_dir)]
    overrides = [f'{name}={value}' for name, value in changes.items()]
    tail = ['--cfg-options', *overrides] if overrides else []
    epochs = config.train_cfg.max_epochs
    _run([str(TOOLS / 'train.py'), *arguments, '--resume', *tail], row, work_dir, task, epochs)
    checkpoint = last_checkpoint(work_dir)
    points = curve(read_scalars(work_dir), task.metric)
    if points[-1:] == [] or points[-1][0] != epochs:
        # It was interrupted after the last epoch and before its validation.
        test = [str(TOOLS / 'test.py'), arguments[0], str(checkpoint), *arguments[1:], *tail]
        _run(test, row, work_dir, task, epochs)
        # CocoMetric gives no number where nothing at all is detected: an AP of 0.
        points.append((epochs, _tested(work_dir).get(task.metric, 0.)))
    return dict(value=points[-1][1], curve=points, step=seconds_per_step(read_scalars(work_dir)),
                checkpoint=str(checkpoint))


def _tested(work_dir: Path) -> dict:
    """The metrics that tools/test.py wrote last."""
    newest = max(work_dir.glob('[0-9]*_[0-9]*'))
    return json.loads((newest / f'{newest.name}.json').read_text())


def _run(command: List[str], row: Row, work_dir: Path, task: Task, epochs: int) -> None:
    """Run one of our tools, its output in a file, a line on the screen for every epoch."""
    log = work_dir / 'output.txt'
    start, shown = time.time(), len(curve(read_scalars(work_dir), task.metric))
    with open(log, 'a') as output:
        process = subprocess.Popen(
            [sys.executable, *command], stdout=output, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                time.sleep(0.5)
                points = curve(read_scalars(work_dir), task.metric)
                for epoch, value in points[shown:]:
                    say(row.name, f'epoch {epoch}/{epochs}',
                        f'{task.metric_name} {task.scale * value:5.1f}',
                        f'{time.time() - start:4.0f} s')
                shown = len(points)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        last = log.read_text().strip().splitlines()[-1:]
        raise RowFailed(f'{row.name}: {Path(command[0]).name} ended with code '
                        f'{process.returncode}: {"".join(last)} (all of it in {log})')
