"""Runs the rows on CIFAR-100 that are missing, one after the other, each in a process of its own.

    python -m projects.study --data cifar100 [--rows student fcfd] [--seeds 3] [--minutes 60]
    python -m projects.study --data cifar100 --again --rows student --seeds 1

A run that was cut goes on from its last epoch. The same command in a second shell is a second
process that takes other runs. What is recorded in docs/results_cifar100.json is not run once more,
but with --again: that trains beside the record and prints both figures.
"""
import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Iterable, List, Optional, Sequence, Tuple

import torch
from mmengine.runner import Runner, set_random_seed
from mmrazor.utils import register_all_modules

from mmdistill_ext.analysis.runs import curve, read_scalars, seconds_per_step, write_whole
from mmdistill_ext.cli import command as cli
from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.teacher.build import read_checkpoint
from projects.study.real_results import OUT, Results, fits, gather, here, lock, results
from projects.study.real_rows import CHOICE_SEED, ROWS, Run, config_of, made_of

AGAIN = Path('work_dirs/study/cifar100_again')
DATA, TEACHER = Path('data/cifar100'), Path('checkpoints/cifar100/resnet56.pth')
# Of the teacher's weights: RepDistiller's ResNet-56 is converted to a file of the same name.
TEACHER_SUM = '256343981a4b0440d0472d379cce09bd0f312aecfae6e76f6d60bf6a2df3be40'


def check_data() -> None:
    """Say in one line what is missing and where it is to be had."""
    where = ('convert cifar100_resnet56-f2eff4c8.pt of '
             'https://github.com/chenyaofo/pytorch-cifar-models (release resnet) with '
             'tools/convert_checkpoint.py')
    if not (DATA / 'cifar-100-python/train').is_file():
        raise ConfigError(f'no CIFAR-100 in {DATA}: unpack cifar-100-python.tar.gz of '
                          'https://www.cs.toronto.edu/~kriz/cifar.html there')
    if not TEACHER.is_file():
        raise ConfigError(f'no teacher at {TEACHER}: {where}')
    if sum_of(TEACHER) != TEACHER_SUM:
        raise ConfigError(f'the teacher at {TEACHER} is not the one of the recorded runs: {where}')


def sum_of(path: Path) -> str:
    """A sum of a checkpoint's weights, by their names, however the file was written."""
    weights, said = read_checkpoint(str(path))[0], hashlib.sha256()
    for name in sorted(weights):
        if weights[name].is_floating_point():
            said.update(name.encode() + weights[name].float().numpy().tobytes())
    return said.hexdigest()


def train(run: Run, out: Path) -> None:
    """One run in this process."""
    from projects.study import bf16, cifar  # noqa: F401, registered by name
    torch.set_num_threads(1)
    register_all_modules(init_default_scope=False)
    work_dir = out / run.folder
    config = config_of(run, work_dir)
    made = made_of(config)
    begin(work_dir, made)
    runner = Runner.from_cfg(config)
    set_random_seed(run.seed)  # what was built beside the student has drawn numbers too
    runner.train()
    scalars = read_scalars(work_dir)
    if runner.max_epochs not in dict(curve(scalars, 'accuracy/top1')):
        runner.val_loop.run()  # it was cut between the last checkpoint and its validation
        scalars = read_scalars(work_dir)
    points = curve(scalars, 'accuracy/top1')
    result = dict(run._asdict(), last=dict(points)[runner.max_epochs],
                  best=max(v for _, v in points), curve=points,
                  step=seconds_per_step(scalars), made_of=made)
    write_whole(work_dir / 'result.json', json.dumps(result))


def begin(work_dir: Path, made: str) -> None:
    """Leave nothing in the folder of a run by which one of another recipe would go on."""
    note = work_dir / 'made_of'
    if not note.is_file() or note.read_text() != made:
        for path in work_dir.glob('*'):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in ('lock', 'output.txt'):
                path.unlink()
    work_dir.mkdir(parents=True, exist_ok=True)
    note.write_text(made)


def wanted(row: str, seeds: int, known: Results) -> List[Run]:
    """The runs of a row: those by which its factor is chosen first, then one for each seed."""
    choices = [Run(row, CHOICE_SEED, value, choice=True) for value in ROWS[row].values]
    if not all(run.folder in known for run in choices):
        return choices
    best = max(choices, key=lambda run: known[run.folder]['last'], default=Run(row, 0))
    return [*choices, *(Run(row, seed, best.factor) for seed in range(seeds))]


def missing(rows: List[str], seeds: int, out: Path = OUT) -> List[Run]:
    """The runs without a result that fits, in the order of the rows.

    Args:
        rows (list[str]): Keys of ``ROWS``.
        seeds (int): How many of each.
        out (Path): Where they go. Elsewhere than in ``OUT`` nothing is chosen anew.
    """
    known, done = results(), results(out)
    return [run for row in rows for run in wanted(row, seeds, known)
            if not fits(run, done.get(run.folder, {})) and (out == OUT or not run.choice)]


def claim(runs: Iterable[Run], out: Path = OUT) -> Optional[Tuple[Run, IO]]:
    """The first run that no other process is at, and the lock that says that this one is."""
    for run in runs:
        try:
            held = lock(out / run.folder / 'lock', wait=False)
        except BlockingIOError:
            continue
        if not fits(run, results(out).get(run.folder, {})):
            return run, held
        held.close()  # another process has finished it since
    return None


def train_apart(run: Run, held: IO, out: Path = OUT) -> int:
    """One run in a process of its own, which holds the lock too: it may outlive this one."""
    with open(out / run.folder / 'output.txt', 'a') as output:
        return subprocess.call(
            [sys.executable, '-m', 'projects.study.real_run', '--one', json.dumps([*run]),
             '--out', str(out)], stdout=output, stderr=subprocess.STDOUT,
            pass_fds=[held.fileno()], env=dict(os.environ, OMP_NUM_THREADS='1'))


def main(argv: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(
        prog='python -m projects.study --data cifar100', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rows', nargs='+', choices=list(ROWS), default=list(ROWS))
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--minutes', type=float, default=float('inf'),
                        help='start no run after so many')
    parser.add_argument('--again', action='store_true',
                        help='train what is recorded once more, beside the record')
    parser.add_argument('--one', type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument('--out', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        train(Run(*args.one), args.out)
        return 0
    if here():
        gather()  # a run may have ended after the study that began it
    check_data()
    out = AGAIN if args.again else OUT
    start, failed = time.time(), []
    while True:
        todo = [run for run in missing(args.rows, args.seeds, out) if run not in failed]
        claimed = None if time.time() - start > 60 * args.minutes else claim(todo, out)
        if not claimed:
            if todo:
                print(f'{len(todo)} runs are left, or another process is at them', flush=True)
            break
        (run, held), began = claimed, time.time()
        code = train_apart(run, held, out)
        if code:
            failed.append(run)
        said = f'FAILED, see {out / run.folder}/output.txt' if code else \
            f'{here(out)[run.folder]["last"]:.2f}'
        if args.again and run.folder in results():
            said += f' (recorded: {results()[run.folder]["last"]:.2f})'
        print(f'{run.folder}: {said}, {time.time() - began:.0f} s', flush=True)
        held.close()
        if not args.again:
            gather()
    return 1 if failed else 0


if __name__ == '__main__':
    cli.main(main, resumable=True)
