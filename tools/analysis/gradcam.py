"""Where teacher, plain student and distilled student look, side by side on the same pictures.

    python tools/analysis/gradcam.py CONFIG CHECKPOINT [--plain CHECKPOINT] [--pictures FILE ...]

Grad-CAM of the class that the first network predicts; of a segmentation its largest class but one,
of a detector all that it detects: ``gradcam.png`` and ``gradcam.csv``.
"""
from typing import Dict, List, Optional, Sequence

import numpy as np

import mmdistill_ext  # noqa: F401, registers the plugin
from mmdistill_ext.analysis import data, gradcam, loading
from mmdistill_ext.cli import command as cli


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = loading.parser('Grad-CAM of teacher, plain and distilled student', images=6)
    loading.add_plain(parser)
    parser.add_argument('--pictures', nargs='+', metavar='FILE',
                        help='instead of pictures of the test data')
    parser.add_argument('--layer', help="a module of every network; default: the backbone's last "
                        'stage')
    args = parser.parse_args(argv)
    cfg = loading.read(args)
    models = loading.students(cfg, args)
    sources = dict(teacher=loading.build(cfg), **models) if 'teacher' in cfg.model else models
    classes = data.metainfo(cfg).get('classes')
    networks = {name: gradcam.Network(model.teacher if name == 'teacher' else model, args.layer,
                                      classes) for name, model in sources.items()}
    pictures: List[np.ndarray] = []
    files: List[str] = []
    looks: List[Dict[str, gradcam.Look]] = []
    for batch in data.pictures(cfg, args.images, args.pictures):
        pictures.append(data.shown(cfg, batch))
        files.append(data.name(batch, len(files)))
        looks.append({})
        for name, network in networks.items():
            ready = loading.prepare(sources[name], batch)
            inputs = ready.teacher if name == 'teacher' else ready.student
            if not looks[-1]:
                category = network.category(inputs, ready.samples)
            looks[-1][name] = network.look(inputs, ready.samples, category)
    loading.finish(args.out / 'gradcam', gradcam.table(files, looks),
                   lambda path: gradcam.draw(pictures, looks, path))


if __name__ == '__main__':
    cli.main(main)
