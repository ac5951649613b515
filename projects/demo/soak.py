"""Trains the demo's distilled students, killed at random times and resumed, for as long as asked.

    python -m projects.demo.soak --minutes 30

Each config is trained once without a break, then killed (kill -9) and resumed until it is done.
Fails if the two end unequal, if a run's memory grows by more than 2 % after its second checkpoint,
or if it keeps more and more files open. No teacher has to be trained: random ones do.
"""
import argparse
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, List, NamedTuple, Optional, Sequence

import torch

from mmdistill_ext.analysis.runs import last_checkpoint
from mmdistill_ext.checkpoints import load
from mmdistill_ext.datasets import SceneSettings, make_data
from projects.demo.rows import CONFIGS, TASKS, Row
from projects.where import HOME

DATA, OUT = Path('data/digits'), Path('work_dirs/soak')
ROWS = [row for task in TASKS.values() for row in task.rows
        if row.name not in ('teacher', 'student')]
KILLS, GROWTH = 5, .02
WARM_UP = 2  # checkpoints: between them lies a validation


class Failed(Exception):
    """What the soak is there to find."""


class Run(NamedTuple):
    """What was seen of one process, twice a second: bytes of memory, and open files."""
    code: int
    seconds: float
    warm_up: int  # so many looks
    memory: List[int]
    files: List[int]


def train(row: Row, folder: Path, kill_after: Optional[float] = None) -> Run:
    """Start or resume, and watch until the end or the kill."""
    command = [sys.executable, str(HOME / 'tools/train.py'),
               str(CONFIGS / row.config), '--work-dir', str(folder), '--resume']
    if row.needs_teacher:
        command += ['--cfg-options', 'model.teacher_ckpt=None', 'model.random_teacher=True']
    memory, files, start, warm_up = [], [], time.time(), 0
    newest, written = saved(folder), 0
    with open(folder.with_suffix('.txt'), 'a') as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            if kill_after is not None and time.time() - start > kill_after:
                process.kill()
                process.wait()
                break
            try:
                status = Path(f'/proc/{process.pid}/status').read_text()
                files.append(len(list(Path(f'/proc/{process.pid}/fd').iterdir())))
                memory.append(1024 * int(status.split('VmRSS:')[1].split()[0]))
            except (FileNotFoundError, IndexError):  # it is just ending
                pass
            if newest != (now := saved(folder)):
                newest, written = now, written + 1
            if written < WARM_UP:
                warm_up = len(memory)
            time.sleep(.5)
    return Run(process.returncode, time.time() - start, warm_up, memory, files)


def saved(folder: Path) -> int:
    """When the last checkpoint was written."""
    mark = folder / 'last_checkpoint'
    return mark.stat().st_mtime_ns if mark.is_file() else 0


def judge(run: Run) -> str:
    """Compare the first and the last third of what comes after the warm-up.

    Returns:
        str: What was seen, for the report.

    Raises:
        Failed: Memory or open files grew.
    """
    memory, files = run.memory[run.warm_up:], run.files[run.warm_up:]
    third = min(len(memory), len(files)) // 3
    if third < 5:
        return 'too short to tell growth'
    early, late = statistics.median(memory[:third]), statistics.median(memory[-third:])
    growth = late / early - 1
    if growth > GROWTH:
        raise Failed(f'memory grew by {growth:.1%}, from {early / 2**20:.0f} to '
                     f'{late / 2**20:.0f} MiB')
    most, usual = max(files[:third]), statistics.median(files[-third:])
    if usual > most:
        raise Failed(f'open files grew from {most} to {usual:.0f}')
    return f'memory {late / 2**20:.0f} MiB ({growth:+.1%}), {usual:.0f} files'


def same(one: Any, two: Any) -> bool:
    """Dicts and lists of tensors and numbers, bit by bit."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(same, one, two))
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


def soak(row: Row, chance: random.Random) -> None:
    """One config: without a break, then with kills; what it prints is the report."""
    name, folders = Path(row.config).stem, {}
    for kind in ('whole', 'cut'):
        folders[kind] = OUT / name / kind
        shutil.rmtree(folders[kind], ignore_errors=True)
        folders[kind].parent.mkdir(parents=True, exist_ok=True)
    whole = train(row, folders['whole'])
    if whole.code:
        raise Failed(f'{name} ended with code {whole.code}: see {folders["whole"]}.txt')
    print(f'{name}: {whole.seconds:.0f} s, {judge(whole)}', flush=True)
    kills: List[str] = []
    for _ in range(KILLS):
        run = train(row, folders['cut'], kill_after=chance.uniform(0, .6 * whole.seconds))
        if run.code != -signal.SIGKILL:
            break
        kills.append(f'{run.seconds:.0f} s')
    else:
        run = train(row, folders['cut'])
    if run.code:
        raise Failed(f'{name} ended with code {run.code}: see {folders["cut"]}.txt')
    ends = [load.read(str(last_checkpoint(folder)), 'cpu') for folder in folders.values()]
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        if not same(ends[0][part], ends[1][part]):
            raise Failed(f'{name}, killed after {", ".join(kills)}: {part} is not that of the run '
                         'without a break')
    print(f'{name}: killed after {", ".join(kills) or "nothing"}: equal, {judge(run)}', flush=True)


def main(argv: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--minutes', type=float, default=30, help='no config is begun after them')
    args = parser.parse_args(argv)
    make_data(DATA, SceneSettings())
    end, chance, number = time.time() + 60 * args.minutes, random.Random(0), 0
    try:
        while time.time() < end:
            soak(ROWS[number % len(ROWS)], chance)
            number += 1
    except Failed as failure:
        print(f'FAILED: {failure}', file=sys.stderr)
        return 1
    print(f'{number} configs, nothing lost')
    return 0


if __name__ == '__main__':
    sys.exit(main())
