"""Trains and judges all rows of the study, and writes docs/results.md and docs/embedded.md.

    python -m projects.study
    python -m projects.study --tasks cls --rows student mlp --workers 2 --minutes 30
    python -m projects.study --data camvid --workers 1   # real data
    python -m projects.study --data cifar100 --rows student fcfd   # see --help after it

It may be interrupted at any time; started again, it goes on where it was, on another machine from
what docs/results.json holds.
"""
import argparse
import fcntl
import os
from pathlib import Path
from typing import Optional, Sequence

os.environ.setdefault('OMP_NUM_THREADS', '1')  # a worker each core serves small networks better
os.environ['CUDA_VISIBLE_DEVICES'] = ''  # and rows of one table are of one kind of machine

import mmdistill_ext  # noqa: E402, F401
from mmdistill_ext.cli import command as cli  # noqa: E402
from mmdistill_ext.errors import ConfigError  # noqa: E402
from projects.study import real_run  # noqa: E402
from projects.study.cells import Cells  # noqa: E402
from projects.study.page import write_page  # noqa: E402
from projects.study.run import run  # noqa: E402
from projects.study.short_page import write_short  # noqa: E402
from projects.study.tasks import RESULTS, STUDIES, Study  # noqa: E402

OUT = Path('work_dirs/study')


def parse_args(study: Study, argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = sorted({name for task in study.tasks.values() for name in task.rows})
    parser.add_argument('--data', choices=[*STUDIES, 'cifar100'], default='embedded')
    parser.add_argument('--tasks', nargs='+', choices=study.tasks, default=list(study.tasks))
    parser.add_argument('--rows', nargs='+', choices=names, metavar='ROW', help=', '.join(names))
    parser.add_argument('--workers', type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument('--minutes', type=float, default=float('inf'),
                        help='start no run after so many')
    return parser.parse_args(argv)


def main(study: Study, argv: Optional[Sequence[str]] = None) -> int:
    args = parse_args(study, argv)
    OUT.mkdir(parents=True, exist_ok=True)
    with open(OUT / f'.{study.marker}.lock', 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f'{OUT}: another study of these data is running here') from None
        made_of = {name: task.data.prepare() for name, task in study.tasks.items()}
        cells = Cells(study.tasks, OUT, made_of, record=study.record)
        whole = run(cells, args.tasks, args.rows, args.workers, args.minutes)
        write_page(cells, study.page, study.marker, study.picture)
        if study is STUDIES['embedded']:
            write_short(cells, RESULTS)
        cells.write_record(study.record)
        if study.logs:
            cells.write_logs(study.logs)
    return 0 if whole else 1


def choose(argv: Optional[Sequence[str]] = None) -> int:
    """The study of the data that are named; CIFAR-100's has options of its own."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('--data', choices=[*STUDIES, 'cifar100'], default='embedded')
    args, rest = parser.parse_known_args(argv)
    return real_run.main(rest) if args.data == 'cifar100' else main(STUDIES[args.data], rest)


if __name__ == '__main__':
    cli.main(choose, resumable=True)
