"""Runs the rows on CIFAR-100 that are missing, one after the other, each in a process of its own.

    python -m projects.study --data cifar100 [--rows student fcfd] [--seeds 3] [--minutes 60]

A run that was cut goes on from its last epoch. The same command in a second shell is a second
process that takes other runs. Each finished run leaves ``result.json``; all of
them are gathered in docs/results_cifar100.json, from which the study goes on on another machine,
their logs and the best students in docs/results/cifar100, and the table in docs/results.md.
"""
import argparse
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Dict, Iterable, List, Optional, Sequence, Tuple

import yaml

from mmdistill_ext.cli import command as cli
from mmdistill_ext.errors import ConfigError

if TYPE_CHECKING:
    from projects.study.real_rows import Run

OUT, RECORD = Path('work_dirs/study/cifar100'), Path('docs/results_cifar100.json')
LOGS, PAGE, README = Path('docs/results/cifar100'), Path('docs/results.md'), Path('README.md')
PUBLISHED = ('student', 'fcfd')  # rows of which a checkpoint is in the repository
DATA, TEACHER = Path('data/cifar100'), Path('checkpoints/cifar100/resnet56.pth')


def check_data() -> None:
    """Say in one line what is missing and where it is to be had."""
    if not (DATA / 'cifar-100-python/train').is_file():
        raise ConfigError(f'no CIFAR-100 in {DATA}: unpack cifar-100-python.tar.gz of '
                          'https://www.cs.toronto.edu/~kriz/cifar.html there')
    if not TEACHER.is_file():
        raise ConfigError(f'no teacher at {TEACHER}: convert cifar100_resnet56-f2eff4c8.pt of '
                          'https://github.com/chenyaofo/pytorch-cifar-models (release resnet) with '
                          'tools/convert_checkpoint.py')


def train(run: 'Run') -> None:
    """One run in this process."""
    import torch
    from mmengine.runner import Runner, set_random_seed
    from mmrazor.utils import register_all_modules

    from mmdistill_ext.analysis.runs import curve, read_scalars, seconds_per_step, write_whole
    from projects.study import bf16, cifar  # noqa: F401, registered by name
    from projects.study.real_rows import config_of, made_of
    torch.set_num_threads(1)
    register_all_modules(init_default_scope=False)
    work_dir = OUT / run.folder
    config = config_of(run, work_dir)
    made = made_of(config)
    runner = Runner.from_cfg(config)
    set_random_seed(run.seed)  # what was built beside the student has drawn numbers too
    runner.train()
    scalars = read_scalars(work_dir)
    points = curve(scalars, 'accuracy/top1')
    result = dict(run._asdict(), last=points[-1][1], best=max(v for _, v in points), curve=points,
                  step=seconds_per_step(scalars), made_of=made)
    write_whole(work_dir / 'result.json', json.dumps(result))


def results() -> Dict[str, dict]:
    """What is recorded, here or elsewhere, and what has been finished since."""
    found = json.loads(RECORD.read_text()) if RECORD.is_file() else {}
    for path in sorted(OUT.glob('*/*/result.json')):
        found[str(path.parent.relative_to(OUT))] = json.loads(path.read_text())
    return found


def wanted(row: str, seeds: int, known: Dict[str, dict]) -> List['Run']:
    """The runs of a row: those by which its factor is chosen first, then one for each seed."""
    from projects.study.real_rows import CHOICE_SEED, ROWS, Run
    choices = [Run(row, CHOICE_SEED, value, choice=True) for value in ROWS[row].values]
    if not all(run.folder in known for run in choices):
        return choices
    best = max(choices, key=lambda run: known[run.folder]['last'], default=Run(row, 0))
    return [*choices, *(Run(row, seed, best.factor) for seed in range(seeds))]


def missing(rows: List[str], seeds: int) -> List['Run']:
    """The runs without a result that fits, in the order of the rows."""
    known = results()
    return [run for row in rows for run in wanted(row, seeds, known) if not _fits(run, known)]


def _fits(run: 'Run', known: Dict[str, dict]) -> bool:
    from projects.study.real_rows import config_of, made_of
    return bool(known.get(run.folder, {}).get('made_of') == made_of(config_of(run, OUT)))


def lock(path: Path, wait: bool = True) -> IO:
    """Hold a file until it is closed, here and in the processes that it was handed to.

    Args:
        path (Path): The file.
        wait (bool): Defaults to True: for whoever holds it now. Else that is a BlockingIOError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, 'w')
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.close()
        raise
    return file


def claim(runs: Iterable['Run']) -> Optional[Tuple['Run', IO]]:
    """The first run that no other process is at, and the lock that says that this one is."""
    for run in runs:
        try:
            held = lock(OUT / run.folder / 'lock', wait=False)
        except BlockingIOError:
            continue
        if not _fits(run, results()):
            return run, held
        held.close()  # another process has finished it since
    return None


def train_apart(run: 'Run', held: IO) -> int:
    """One run in a process of its own, which holds the lock too: it may outlive this one."""
    with open(OUT / run.folder / 'output.txt', 'a') as output:
        return subprocess.call(
            [sys.executable, '-m', 'projects.study.real_run', '--one', json.dumps(run)],
            stdout=output, stderr=subprocess.STDOUT, pass_fds=[held.fileno()],
            env=dict(os.environ, OMP_NUM_THREADS='1'))


def gather() -> None:
    """All results in one file, a line each, the log of each run that was made here, the page."""
    with lock(OUT / 'lock'):  # two that end at once would write over each other
        found = results()
        _write_record(found)
        for row in PUBLISHED:
            publish(row, found)
        _write_pages(found)


def _write_record(found: Dict[str, dict]) -> None:
    from mmdistill_ext.analysis.runs import read_scalars, write_whole
    lines = [f'"{name}": {json.dumps(result)}' for name, result in sorted(found.items())]
    write_whole(RECORD, '{\n' + ',\n'.join(lines) + '\n}\n')
    LOGS.mkdir(parents=True, exist_ok=True)
    for path in OUT.glob('*/*/result.json'):
        log = '\n'.join(map(json.dumps, read_scalars(path.parent)))
        name = f'{path.parents[1].name}-{path.parent.name.replace("seed-", "")}.json'
        write_whole(LOGS / name, f'{log}\n')


def _write_pages(found: Dict[str, dict]) -> None:
    from mmdistill_ext.analysis.runs import write_whole
    from projects.study import real_page
    write_whole(LOGS / 'metafile.yml', yaml.safe_dump(dict(Models=published(found)),
                                                      sort_keys=False))
    real_page.write(found, PAGE, README)


def publish(row: str, found: Dict[str, dict]) -> None:
    """Keep the student of the best run whose checkpoint is at hand, without optimizer and teacher.

    Args:
        row (str): A key of ``ROWS``.
        found (dict[str, dict]): All results.
    """
    from mmdistill_ext.analysis.runs import last_checkpoint
    from mmdistill_ext.checkpoints import student
    runs = [result for key, result in found.items() if key.startswith(f'{row}/seed-')]
    for result in sorted(runs, key=lambda result: -result['last']):
        path = LOGS / f'{row}-{result["seed"]}.pth'
        checkpoint = last_checkpoint(OUT / row / f'seed-{result["seed"]}')
        if checkpoint and not path.is_file():
            for worse in LOGS.glob(f'{row}-*.pth'):
                worse.unlink()
            student.write(student.load(str(checkpoint)), str(path))
        if path.is_file():
            break  # of a run on another machine, or just written


def published(found: Dict[str, dict]) -> List[dict]:
    """The checkpoints that are kept, each with its figure, as OpenMMLab's metafiles have them."""
    from projects.study.real_rows import EPOCHS, ROWS
    return [dict(
        Name=path.stem, Config='projects/study/configs/cifar100.py',
        Metadata=dict(Row=ROWS[row].title, Recipe=ROWS[row].recipe, Epochs=EPOCHS),
        Results=[dict(Task='Image Classification', Dataset='CIFAR-100', Metrics={
            'Top 1 Accuracy': round(found[f'{row}/seed-{path.stem.split("-")[1]}']['last'], 2)})],
        Weights=str(path)) for row in PUBLISHED for path in sorted(LOGS.glob(f'{row}-*.pth'))]


def main(argv: Optional[Sequence[str]] = None) -> int:
    from projects.study.real_rows import ROWS, Run
    parser = argparse.ArgumentParser(
        prog='python -m projects.study --data cifar100', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rows', nargs='+', choices=list(ROWS), default=list(ROWS))
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--minutes', type=float, default=float('inf'),
                        help='start no run after so many')
    parser.add_argument('--one', type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        train(Run(*args.one))
        return 0
    check_data()
    start, failed = time.time(), []
    while True:
        todo = [run for run in missing(args.rows, args.seeds) if run not in failed]
        claimed = None if time.time() - start > 60 * args.minutes else claim(todo)
        if not claimed:
            if todo:
                print(f'{len(todo)} runs are left, or another process is at them', flush=True)
            break
        (run, held), began = claimed, time.time()
        folder, code = OUT / run.folder, train_apart(run, held)
        if code:
            failed.append(run)
        said = f'FAILED, see {folder}/output.txt' if code else \
            f'{json.loads((folder / "result.json").read_text())["last"]:.2f}'
        print(f'{run.folder}: {said}, {time.time() - began:.0f} s', flush=True)
        held.close()
        gather()
    return 1 if failed else 0


if __name__ == '__main__':
    cli.main(main, resumable=True)
