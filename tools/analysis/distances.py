"""How near a connector brings the student's features to the teacher's.

    python tools/analysis/distances.py CONFIG CHECKPOINT [--images 200]

For every level of every link (and every bridge of FCFD) the L2 distance before and after it:
``distances.png`` and ``distances.csv``.
"""
from typing import Optional, Sequence

import mmdistill_ext  # noqa: F401, registers the plugin
from mmdistill_ext.analysis import data, distances, loading
from mmdistill_ext.cli import command as cli


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = loading.parser('L2 distance to the teacher before and after every connector',
                            images=200)
    args = parser.parse_args(argv)
    cfg = loading.read(args)
    algorithm = loading.load_algorithm(cfg, args.checkpoint)
    rows = distances.measure(algorithm, data.batches(cfg, args.images))
    loading.finish(args.out / 'distances', distances.table(rows),
                   lambda path: distances.draw(rows, path))


if __name__ == '__main__':
    cli.main(main)
