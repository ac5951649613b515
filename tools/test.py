"""Test a distilled or student-only checkpoint: ``python tools/test.py CONFIG CHECKPOINT``.

``python tools/test.py CONFIG --teacher`` tests the teacher with the student's data and metric; with
a checkpoint, both are in one table.
"""
from typing import Optional, Sequence

# Before MMRazor's models, which cannot be imported on PyTorch 2 without it.
import mmdistill_ext  # noqa: F401  # isort: skip

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmrazor.models.algorithms.base import BaseAlgorithm
from mmrazor.registry import MODELS

from mmdistill_ext.checkpoints import student
from mmdistill_ext.cli import command as cli
from mmdistill_ext.cli.teacher_test import (
    TeacherRunner,
    TestRun,
    check_has_teacher,
    doubts,
    table,
)
from mmdistill_ext.errors import ConfigError


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
    parser = cli.parser('Test the student of an algorithm, its teacher, or both')
    parser.add_argument('checkpoint', nargs='?',
                        help='of a distillation, or of the student alone')
    parser.add_argument('--teacher', action='store_true',
                        help="test the teacher too, with the student's data and metric; without a "
                        'checkpoint the teacher alone')
    args = parser.parse_args(argv)
    if not (args.checkpoint or args.teacher):
        raise ConfigError('what to test? a checkpoint of the student, or --teacher')
    cfg = cli.load_config(args, cli.TEST)
    cfg.load_from, cfg.resume = args.checkpoint, False
    teacher, own = TestRun(), TestRun()
    if args.checkpoint:
        student.load(args.checkpoint)  # before a folder is made
    if args.teacher:
        check_has_teacher(cfg)
        cli.run(cfg, teacher, TeacherRunner)
    if args.checkpoint:
        without_teacher(cfg)
        cli.run(cfg, own, StudentRunner)
    if args.teacher and is_main_process():
        print(table(teacher, own).markdown(), *doubts(teacher, own), sep='\n')


if __name__ == '__main__':
    cli.main(test)
