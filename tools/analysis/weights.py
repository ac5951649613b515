"""Which weight? How hard each distillation loss pulls at the student, beside its own losses.

    python tools/analysis/weights.py CONFIG --steps 50

Trains for some steps and keeps nothing. Prints for each distillation loss its size and the norm of
its gradient beside the task's, the factor that would make them equal, and the option to paste:
``weights.png`` and ``weights.csv``. Schedules of weights (``LossWeightHook``) are left out: what is
measured are the weights that the config states.
"""
import tempfile
from pathlib import Path
from typing import Optional, Sequence

from mmengine.runner import Runner

import mmdistill_ext  # noqa: F401, registers the plugin
from mmdistill_ext.analysis import loading, loss_pulls, loss_weights
from mmdistill_ext.cli import command as cli
from mmdistill_ext.errors import ConfigError


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = cli.parser('The pull of each distillation loss')
    parser.add_argument('--steps', type=int, default=50, help='of training; default: 50')
    parser.add_argument('--every', type=int, default=10, metavar='N',
                        help='look at each Nth step; default: 10')
    parser.add_argument('--out', type=Path, metavar='FOLDER',
                        help='for the picture and the csv; default: analysis/ in the work dir')
    args = parser.parse_args(argv)
    if min(args.steps, args.every) < 1:
        raise ConfigError(f'--steps and --every are 1 or more, found {args.steps} and {args.every}')
    cfg = cli.load_config(args, cli.TRAIN)
    if 'architecture' not in cfg.model:
        raise ConfigError(f'model.type is {cfg.model.get("type")!r}, which distils nothing')
    out = args.out or Path(cfg.work_dir) / 'analysis'
    cfg.custom_hooks, cfg.resume, cfg.visualizer = [], False, None  # nothing goes to W&B either
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        runner = Runner.from_cfg(cfg)
        found = loss_pulls.measure(runner, args.steps, args.every)
    loading.finish(out / 'weights', loss_weights.table(found),
                   lambda path: loss_weights.draw(found, path))
    print('\n'.join(loss_weights.advice(found, cfg)))


if __name__ == '__main__':
    cli.main(main)
