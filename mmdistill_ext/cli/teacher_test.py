"""Testing a teacher with its student's data and metric, before days of training."""
import math
from typing import Any, Dict, List, Optional

from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmrazor.registry import MODELS
from torch import nn

from ..analysis.run_folders import USUAL
from ..analysis.tables import Table
from ..checkpoints import student as checkpoints
from ..engine.hooks.same_classes_hook import check_teacher
from ..errors import ConfigError
from ..models.teacher.build import awaits_weights, build_teacher, is_headless
from ..models.teacher.preprocessor import TwoPreprocessors, preprocessor_for

PREFIX = 'teacher.'  # the teacher's name in every algorithm with one
NEAR_ZERO = .01  # an mAP so small finds nothing
REASONS = ('likely its classes are in another order, or its data_preprocessor is not the one that '
           'it was trained with')


class TestedTeacher(BaseModel):
    """A teacher that gets the student's batches, normalised for it as in training.

    Args:
        teacher (BaseModel): With its weights.
        data_preprocessor (nn.Module): As the student's, with the teacher's own normalisation.
    """

    def __init__(self, teacher: BaseModel, data_preprocessor: nn.Module) -> None:
        super().__init__(data_preprocessor)
        self.teacher = teacher

    def forward(self, inputs, data_samples=None, mode: str = 'tensor'):
        """The teacher's own."""
        return self.teacher(inputs, data_samples, mode=mode)


class TeacherRunner(Runner):
    """Tests the teacher of the algorithm that the config states, in float32.

    The weights are those of ``teacher_ckpt``, or of a checkpoint of the distillation
    (``load_from``) that holds a teacher, as one that is trained too is saved.
    """

    def build_model(self, model: dict) -> BaseModel:
        """The teacher alone; the student lends its preprocessor."""
        own = MODELS.build(dict(model['architecture'])).data_preprocessor
        if model.get('data_preprocessor'):
            own = MODELS.build(model['data_preprocessor'])
        teacher = self._loaded_teacher(model)
        if is_headless(teacher):
            raise ConfigError('--teacher: the teacher has no head, so it predicts nothing to test')
        both = preprocessor_for(own, getattr(teacher, 'data_preprocessor', None))
        return TestedTeacher(teacher, both.teacher if isinstance(both, TwoPreprocessors) else both)

    def _loaded_teacher(self, model: dict) -> BaseModel:
        saved = _saved_teacher(self._load_from)
        if saved:
            teacher = build_teacher(model['teacher'], None, random_teacher=True)
            checkpoints.check_fit(saved, teacher, self._load_from, what='the teacher')
            teacher.load_state_dict(saved)
            return teacher
        teacher = build_teacher(model['teacher'], model.get('teacher_ckpt'),
                                model.get('random_teacher', False))
        if model.get('random_teacher'):
            if not awaits_weights(teacher):
                raise ConfigError('--teacher: random_teacher=True, so there is nothing to test '
                                  'before the training; expected a checkpoint of a distillation '
                                  'that trains or saves its teacher')
            teacher.init_weights()
        return teacher

    def load_or_resume(self) -> None:
        """It is loaded; classes that differ stop here, as they stop the training."""
        self._has_loaded = True
        model: Any = getattr(self.model, 'module', self.model)
        meta = getattr(self.test_loop.dataloader.dataset, 'metainfo', {})
        if meta.get('classes') is not None and 'thing_classes' not in meta:
            check_teacher(model.teacher, meta['classes'], 'the test data', 'a teacher of these')


def _saved_teacher(path: Optional[str]) -> dict:
    """The teacher's weights in a checkpoint, if it holds more than running statistics."""
    state = checkpoints.load(path)['state_dict'] if path else {}
    saved = {key[len(PREFIX):]: value for key, value in state.items() if key.startswith(PREFIX)}
    return saved if any(key.endswith(('weight', 'bias')) for key in saved) else {}


def check_has_teacher(cfg: Config) -> None:
    """Stop where there is no teacher to test."""
    if 'teacher' not in cfg.model:
        free = 'architecture' in cfg.model
        raise ConfigError(f'--teacher: model.type is {cfg.model.get("type")!r}, which has no '
                          f'teacher{": the student teaches itself" if free else ""}')


class TestRun:
    """Tests, and keeps what came out.

    Attributes:
        metrics (dict): Empty if nothing was tested.
        classes (int): Of the test data.
        images (int): Of the test data.
    """
    __test__ = False  # pytest: not a class of tests

    def __init__(self) -> None:
        self.metrics: Dict[str, float] = {}
        self.classes = self.images = 1

    def __call__(self, runner: Runner) -> None:
        self.metrics = {name: value for name, value in runner.test().items()
                        if isinstance(value, (int, float))}
        dataset = runner.test_loop.dataloader.dataset
        self.images = len(dataset)
        self.classes = len(getattr(dataset, 'metainfo', {}).get('classes') or [None])


def table(teacher: TestRun, student: TestRun) -> Table:
    """A row for each metric; a column for the student where it was tested."""
    tested = dict(teacher=teacher.metrics, **dict(student=student.metrics) if student.metrics
                  else {})
    names = list({**teacher.metrics, **student.metrics})
    return Table(['metric', *tested],
                 [[name, *(metrics.get(name) for metrics in tested.values())] for name in names])


def doubts(teacher: TestRun, student: TestRun) -> List[str]:
    """What speaks against a teacher: at most one line."""
    name = next((name for name in (*USUAL, *teacher.metrics) if name in teacher.metrics), None)
    if name is None:
        return [f'WARNING: the teacher has no metric, as it found nothing; {REASONS}']
    if not any(key in name for key in CheckpointHook._default_greater_keys):
        return []  # nobody says whether more is better
    value, least = teacher.metrics[name], chance(name, teacher.classes, teacher.images)
    said = f'WARNING: the teacher has {name} {value:.4g}, no better than'
    if value <= least:
        return [f'{said} chance (up to {least:.3g} here); {REASONS}']
    own = student.metrics.get(name, -math.inf)
    if value <= own:
        return [f'{said} the student ({own:.4g}): it has little to teach; if it was better where '
                f'it was trained, {REASONS}']
    return []


def chance(name: str, classes: int, images: int) -> float:
    """The metric that a network may have that knows nothing.

    A classifier that guesses gets one of ``classes`` images right, and by luck up to three standard
    errors more. A segmentor that says the same everywhere has at most ``100 / classes`` mIoU.
    """
    if name.startswith('accuracy/top1'):
        share = 1 / classes
        return 100 * (share + 3 * math.sqrt(share * (1 - share) / images))
    return 100 / classes if name == 'mIoU' else NEAR_ZERO
