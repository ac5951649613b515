"""How strong the channels of each layer are, and how that changes from checkpoint to checkpoint.

    python tools/analysis/salience.py CONFIG CHECKPOINT [MORE_CHECKPOINTS ...]

The salience is Tf-FD's: the l2 norm of a channel's map. Checkpoints of one run show how it moves,
those of two runs (a student alone and one distilled) how they differ: ``salience.png`` and
``salience.csv``.
"""
from typing import Optional, Sequence

import mmdistill_ext  # noqa: F401, registers the plugin
from mmdistill_ext.analysis import data, loading, salience
from mmdistill_ext.cli import command as cli


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = loading.parser('Channel salience per layer', images=200)
    parser.add_argument('more', nargs='*', help='more checkpoints of the same student')
    parser.add_argument('--layers', nargs='+', default=[], metavar='NAME',
                        help="modules of the student; default: the backbone's stages")
    args = parser.parse_args(argv)
    cfg = loading.read(args)
    found = {}
    for path in (args.checkpoint, *args.more):
        model = loading.load_student(cfg, path)
        found[path] = salience.measure(model, salience.layers_of(model, args.layers),
                                       data.batches(cfg, args.images))
    loading.finish(args.out / 'salience', salience.table(found),
                   lambda path: salience.draw(found, path), shown=salience.summary(found))


if __name__ == '__main__':
    cli.main(main)
