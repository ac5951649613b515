"""What a student's features do in its teacher, and the teacher's in the student.

    python tools/analysis/function_consistency.py CONFIG CHECKPOINT [--calibrate 200]

For every mixed path of FCFD the accuracy and the KL to the pure paths:
``function_consistency.png`` and ``function_consistency.csv``. The checkpoint may be of any
distillation of a classifier. What it lacks (bridges, BatchNorm statistics of the paths) is made on
``--calibrate`` batches of the training set.
"""
from typing import Dict, List, Optional, Sequence, Tuple

from mmengine.config import Config
from mmengine.runner import Runner
from mmrazor.registry import MODELS
from torch import Tensor

import mmdistill_ext  # noqa: F401, registers the plugin
from mmdistill_ext.analysis import data, loading
from mmdistill_ext.analysis import function_consistency as consistency
from mmdistill_ext.checkpoints import student
from mmdistill_ext.cli import command as cli
from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.fcfd import FCFDDistill

KEEP = ('_scope_', 'architecture', 'teacher', 'teacher_ckpt', 'random_teacher', 'data_preprocessor')


def all_paths(cfg: Config) -> None:
    """The config's pair of networks, in FCFD with every path that there is."""
    model = cfg.model
    if cfg.get('default_scope') in ('mmdet', 'mmseg'):
        raise ConfigError('function consistency compares the outputs of classifiers; this '
                          f'config is for {cfg.default_scope}')
    kind = MODELS.get(model.get('type', ''))
    if kind is None or 'teacher' not in model:
        raise ConfigError(f'model.type is {model.get("type")!r}; a distillation with a teacher is '
                          'needed')
    if not issubclass(kind, FCFDDistill):
        model = dict({key: model[key] for key in KEEP if key in model}, type='FCFDDistill')
    cfg.model = dict(model, paths=dict(num='all'), distiller=None)


def load(algorithm: FCFDDistill, path: str) -> Tuple[List, List]:
    """Load what the checkpoint has; the paths that lack statistics, and those without a bridge."""
    checkpoint = student.load(path)
    weights = student.weights(checkpoint)
    student.check_fit(weights, algorithm.student, path)
    algorithm.student.load_state_dict(weights)
    own = algorithm.state_dict()
    rest: Dict[str, Tensor] = {
        key: value for key, value in checkpoint['state_dict'].items()
        if key in own and not key.startswith(student.PREFIX) and own[key].shape == value.shape}
    algorithm.load_state_dict(rest, strict=False)
    paths = algorithm.sampler.candidates
    bridges = [p for p in paths if f'bridges.{p.name}.conv.weight' not in rest]
    return [p for p in paths if not _seen(algorithm, p) or p in bridges], bridges


def _seen(algorithm: FCFDDistill, path) -> bool:
    return all(stats.used for _, stats in algorithm.path_stats.layers(path.name))


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = loading.parser('Accuracy and KL of every mixed path', images=10000)
    parser.add_argument('--calibrate', type=int, default=0, metavar='BATCHES',
                        help='training batches to make bridges and statistics with')
    args = parser.parse_args(argv)
    cfg = loading.read(args)
    all_paths(cfg)
    algorithm = loading.build(cfg)
    lacking, bridges = load(algorithm, args.checkpoint)
    if lacking and not args.calibrate:
        raise ConfigError(
            f'{args.checkpoint} has not been trained with the paths '
            f'{", ".join(path.name for path in lacking)}; --calibrate 200 makes what they need on '
            'training batches')
    if lacking:
        consistency.calibrate(algorithm, Runner.build_dataloader(cfg.train_dataloader), lacking,
                              bridges, args.calibrate)
    rows = consistency.measure(algorithm, data.batches(cfg, args.images),
                               algorithm.sampler.candidates)
    if lacking:
        print(f'made on {args.calibrate} training batches: '
              f'{", ".join(path.name for path in lacking)}')
    loading.finish(args.out / 'function_consistency', consistency.table(rows),
                   lambda path: consistency.draw(rows, path))


if __name__ == '__main__':
    cli.main(main)
