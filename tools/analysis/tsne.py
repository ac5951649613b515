"""Whether the student's features lie among the teacher's, as Figure 4 of FCFD's paper asks.

    python tools/analysis/tsne.py CONFIG CHECKPOINT [--images 300]

The features of both networks, the student's behind its connector or bridge, averaged over the map
and put into one t-SNE: ``tsne.png`` and ``tsne.csv``.
"""
from typing import Optional, Sequence

import mmdistill_ext  # noqa: F401, registers the plugin
from mmdistill_ext.analysis import data, loading, tsne
from mmdistill_ext.cli import command as cli
from mmdistill_ext.errors import ConfigError


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = loading.parser('t-SNE of the features of teacher and bridged student', images=300)
    args = parser.parse_args(argv)
    cfg = loading.read(args)
    algorithm = loading.load_algorithm(cfg, args.checkpoint)
    features = tsne.features(algorithm, data.batches(cfg, args.images))
    count = min(both.shape[1] for both in features.values())
    if count < 4:
        raise ConfigError(f'{count} pictures make no map; 4 or more do, hundreds make a good one')
    maps = [tsne.embed(name, both) for name, both in features.items()]
    loading.finish(args.out / 'tsne', tsne.table(maps), lambda path: tsne.draw(maps, path),
                   shown=tsne.summary(maps))


if __name__ == '__main__':
    cli.main(main)
