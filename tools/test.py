"""Test a distilled or student-only checkpoint: ``python tools/test.py CONFIG CHECKPOINT``."""
from typing import Optional, Sequence

# Before MMRazor's models, which cannot be imported on PyTorch 2 without it.
import mmdistill_ext  # noqa: F401  # isort: skip

from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmrazor.models.algorithms.base import BaseAlgorithm
from mmrazor.registry import MODELS

from mmdistill_ext.checkpoints import student
from mmdistill_ext.cli import command as cli


class StudentRunner(Runner):
    """Loads ``load_from`` into the student alone, strictly."""

    def load_or_resume(self) -> None:
        model = self.model.module if is_model_wrapper(self.model) else self.model
        own = getattr(model, 'architecture', model)
        checkpoint = student.load(self._load_from)
        state = student.weights(checkpoint)
        student.check_fit(state, own, self._load_from)
        prefix = '' if own is model else student.PREFIX
        checkpoint['state_dict'] = {prefix + key: value for key, value in state.items()}
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        own.load_state_dict(state, strict=True)
        self._has_loaded = True


def without_teacher(cfg: Config) -> None:
    """Where the student alone makes the predictions, build it and nothing else."""
    algorithm = MODELS.get(cfg.model.get('type', '')) if 'architecture' in cfg.model else None
    if algorithm and all(getattr(algorithm, name) is getattr(BaseAlgorithm, name)
                         for name in ('_forward', '_predict')):
        keep = ('_scope_', 'architecture', 'data_preprocessor', 'module_inplace')
        cfg.model = dict({key: cfg.model[key] for key in keep if key in cfg.model},
                         type='mmrazor.BaseAlgorithm')


def test(argv: Optional[Sequence[str]] = None) -> None:
    parser = cli.parser('Test the student of an algorithm')
    parser.add_argument('checkpoint', help='of a distillation, or of the student alone')
    args = parser.parse_args(argv)
    cfg = cli.load_config(args, cli.TEST)
    student.load(args.checkpoint)  # before a folder is made
    cfg.load_from, cfg.resume = args.checkpoint, False
    without_teacher(cfg)
    cli.run(cfg, lambda runner: runner.test(), StudentRunner)


if __name__ == '__main__':
    cli.main(test)
