"""What two students detect or segment, beside the truth.

    python tools/analysis/predictions.py CONFIG CHECKPOINT [--plain CHECKPOINT]

``predictions.png`` and ``predictions.csv`` with counts for every picture.
"""
from typing import Optional, Sequence

import mmdistill_ext  # noqa: F401, registers the plugin
from mmdistill_ext.analysis import data, loading, predictions
from mmdistill_ext.cli import command as cli


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = loading.parser('Detections and segmentations of two students beside the truth',
                            images=4)
    loading.add_plain(parser)
    args = parser.parse_args(argv)
    cfg = loading.read(args)
    models = loading.students(cfg, args)
    kind = predictions.kind_of(next(iter(models.values())))
    meta = predictions.dataset_meta(data.metainfo(cfg))
    rows, drawn = [], []
    for batch in data.pictures(cfg, args.images):
        samples = {name: predictions.predict(model, batch) for name, model in models.items()}
        first = next(iter(samples.values()))
        columns = {'truth': (predictions.draw_sample(kind, first, meta, truth=True), '')}
        for name, sample in samples.items():
            numbers = kind.count_right(sample, len(meta['classes']))
            rows.append((first.img_path, name, *numbers))
            columns[name] = (predictions.draw_sample(kind, sample, meta, truth=False),
                             kind.words.format(*numbers))
        drawn.append(columns)
    loading.finish(args.out / 'predictions', predictions.table(rows, kind),
                   lambda path: predictions.draw(drawn, path))


if __name__ == '__main__':
    cli.main(main)
