"""What a student's features do in its teacher, and the teacher's in the student.

    python tools/analysis/function_consistency.py CONFIG CHECKPOINT [--calibrate 200]

For every mixed path of FCFD the accuracy and the KL to the pure paths, as a table and a picture in
``--out-dir``. The checkpoint may be of any distillation of a classifier. What it lacks (bridges,
BatchNorm statistics of the paths) is made on ``--calibrate`` batches of the training set.
"""
from itertools import islice
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmrazor.registry import MODELS
from torch import Tensor

import mmdistill_ext  # noqa: F401, registers the plugin
from mmdistill_ext import cli, student
from mmdistill_ext.analysis import function_consistency as consistency
from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.algorithms import FCFDDistill

KEEP = ('_scope_', 'architecture', 'teacher', 'teacher_ckpt', 'random_teacher', 'data_preprocessor')


def all_paths(cfg: Config) -> None:
    """The config's pair of networks, in FCFD with every path that there is."""
    model = cfg.model
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
    parser = cli.parser('Accuracy and KL of every mixed path')
    parser.add_argument('checkpoint', help='of a distillation, or of the student alone')
    parser.add_argument('--calibrate', type=int, default=0, metavar='BATCHES',
                        help='training batches to make bridges and statistics with')
    parser.add_argument('--batches', type=int, help='test batches; default: all')
    parser.add_argument('--out-dir', help='default: function_consistency/ in the work dir')
    args = parser.parse_args(argv)
    cfg = cli.load_config(args, ['test_dataloader'])
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    all_paths(cfg)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    algorithm = MODELS.build(cfg.model).to(device)
    lacking, bridges = load(algorithm, args.checkpoint)
    if lacking and not args.calibrate:
        raise ConfigError(
            f'{args.checkpoint} has not been trained with the paths '
            f'{", ".join(path.name for path in lacking)}; --calibrate 200 makes what they need on '
            'training batches')
    if lacking:
        consistency.calibrate(algorithm, Runner.build_dataloader(cfg.train_dataloader), lacking,
                              bridges, args.calibrate)
    batches = islice(Runner.build_dataloader(cfg.test_dataloader), args.batches)
    rows = consistency.measure(algorithm, batches, algorithm.sampler.candidates)
    out = Path(args.out_dir or Path(cfg.work_dir) / 'function_consistency')
    out.mkdir(parents=True, exist_ok=True)
    (out / 'table.md').write_text(consistency.table(rows) + '\n')
    consistency.draw(rows, out / 'paths.png')
    print(consistency.table(rows))
    if lacking:
        print(f'made on {args.calibrate} training batches: '
              f'{", ".join(path.name for path in lacking)}')
    print(f'{out}/table.md, {out}/paths.png')


if __name__ == '__main__':
    cli.main(main)
