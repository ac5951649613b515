"""Learning curves of several runs in one plot.

    python tools/analysis/curves.py WORK_DIR [WORK_DIR ...] [--metric mIoU]

A work dir of one run, or a folder that holds several; runs of several seeds (``seed-0``,
``seed-1``) become one line, their mean: ``curves.png`` and ``curves.csv``.
"""
import argparse
from pathlib import Path
from typing import Optional, Sequence

import mmdistill_ext  # noqa: F401, registers the plugin
from mmdistill_ext.analysis import curves, loading, run_folders
from mmdistill_ext.cli import command as cli
from mmdistill_ext.errors import ConfigError


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(description='Learning curves of several runs')
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR')
    parser.add_argument('--metric', help="as mmengine's log calls it; default: the usual one")
    parser.add_argument('--out', type=Path, metavar='FOLDER',
                        help='default: analysis/ in the first work dir')
    args = parser.parse_args(argv)
    runs = run_folders.find(args.work_dirs, args.metric)
    metrics = {run.metric for run in runs}
    if len(metrics) > 1:
        raise ConfigError(f'the runs have different metrics ({", ".join(sorted(metrics))}): '
                          'name one with --metric, or draw them apart')
    if len({run.unit for run in runs}) > 1:
        raise ConfigError('some of the runs count epochs and some iterations: draw them apart')
    loading.finish(
        (args.out or args.work_dirs[0] / 'analysis') / 'curves', curves.table(runs),
        lambda path: curves.draw({run.name: run.points for run in runs}, runs[0].metric,
                                 runs[0].unit, path), shown=curves.summary(runs))


if __name__ == '__main__':
    cli.main(main)
