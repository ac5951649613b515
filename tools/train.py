"""Train an algorithm: ``python tools/train.py CONFIG``, with the options of MMRazor's train.py."""
from typing import Optional, Sequence

import mmdistill_ext  # noqa: F401, registers the plugin
from mmdistill_ext.cli import command as cli
from mmdistill_ext.cli import rehearsal


def train(argv: Optional[Sequence[str]] = None) -> None:
    parser = cli.parser('Train an algorithm')
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')
    parser.add_argument('--auto-scale-lr', action='store_true',
                        help='scale the learning rate to the number of GPUs')
    parser.add_argument('--resume', action='store_true',
                        help='go on from the latest checkpoint in the work_dir')
    parser.add_argument('--dry-run', action='store_true',
                        help='build everything, take a step on real data, print the places, memory '
                        'and hours, and keep nothing')
    args = parser.parse_args(argv)
    cfg = cli.load_config(args, cli.TRAIN)
    if args.amp:
        cli.use_amp(cfg)
    if args.auto_scale_lr:
        cli.use_auto_scale_lr(cfg)
    cli.add_guards(cfg)
    if args.dry_run:
        rehearsal.run(cfg)
        return
    cli.save_whole_files(cfg)
    cfg.resume = args.resume
    cli.run(cfg, lambda runner: runner.train())


if __name__ == '__main__':
    cli.main(train)
