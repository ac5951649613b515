"""What the analysis tools share: reading a config and a checkpoint, writing the results."""
import argparse
import copy
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Optional

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmrazor.registry import MODELS
from torch import Tensor

from ..checkpoints import student
from ..cli import command as cli
from ..errors import ConfigError
from ..models.teacher.build import in_format
from . import runs
from .tables import Table

__all__ = ['load_algorithm', 'load_student']


def parser(description: str, images: int) -> argparse.ArgumentParser:
    """The arguments that the tools share.

    Args:
        description (str): What the tool does.
        images (int): How many pictures of the test data it takes by default.
    """
    parser = cli.parser(description)
    parser.add_argument('checkpoint', help='of a distillation, or of the student alone')
    parser.add_argument('--images', type=int, default=images, metavar='N',
                        help=f'pictures of the test data; default: {images}')
    parser.add_argument('--out', type=Path, metavar='FOLDER',
                        help='for the picture and the csv; default: analysis/ in the work dir')
    return parser


def read(args: argparse.Namespace) -> Config:
    """The config, with its library as the default scope and ``args.out`` filled in."""
    cfg = cli.load_config(args, ['test_dataloader'])
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    args.out = args.out or Path(cfg.work_dir) / 'analysis'
    return cfg


def build(cfg: Config) -> BaseModel:
    """The model as the runner builds it; no weights are loaded but those of a teacher."""
    model = copy.deepcopy(cfg.model)
    if cfg.get('data_preprocessor'):
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return _on_device(MODELS.build(model))


def load_student(cfg: Config, path: str) -> BaseModel:
    """The student of a config with the weights of a checkpoint, plain or distilled."""
    return _on_device(runs.load_student(cfg, path))


def load_algorithm(cfg: Config, path: str) -> BaseModel:
    """A distillation as it was when the checkpoint was written: connectors, bridges and all."""
    if 'teacher' not in cfg.model:
        raise ConfigError(f'model.type is {cfg.model.get("type")!r}; a distillation with a teacher '
                          'is needed here')
    checkpoint = student.load(path)
    if not student.is_distilled(checkpoint):
        raise ConfigError(f'{path} holds the student alone; what stands between it and the teacher '
                          'is in the checkpoints that tools/train.py writes')
    model = build(cfg)
    student.check_fit(checkpoint['state_dict'], model, path, what='the distillation')
    model.load_state_dict(checkpoint['state_dict'])
    return model


def _on_device(model: BaseModel) -> BaseModel:
    model.to('cuda' if torch.cuda.is_available() else 'cpu').eval()
    return model  # eval() of MMRazor's SingleTeacherDistill gives None


def add_plain(parser: argparse.ArgumentParser) -> None:
    """The argument of tools that compare two students."""
    parser.add_argument('--plain', metavar='CHECKPOINT', help='of the student trained alone')


def students(cfg: Config, args: argparse.Namespace) -> Dict[str, BaseModel]:
    """The plain student, where there is one, and the distilled one."""
    found = {'student alone': load_student(cfg, args.plain)} if args.plain else {}
    name = 'distilled student' if 'architecture' in cfg.model else 'student'
    return {**found, name: load_student(cfg, args.checkpoint)}


class Batch(NamedTuple):
    """A batch in the form that the networks take.

    Args:
        student (Tensor): [N, C, H, W].
        teacher (Tensor): The same in the teacher's normalisation, precision and memory format.
        samples (list): Data samples, with what is known of the truth.
    """
    student: Tensor
    teacher: Tensor
    samples: list


def prepare(model: BaseModel, batch: dict) -> Batch:
    """A batch of a dataloader, as an algorithm (or a plain model) gets it in evaluation."""
    preprocessor = model.data_preprocessor
    data = preprocessor(copy.deepcopy(batch), False)
    theirs = data['inputs']
    if hasattr(preprocessor, 'teacher'):  # with a normalisation of its own
        theirs = preprocessor.teacher(copy.deepcopy(batch), False)['inputs']
    if getattr(model, 'teacher', None) is not None:
        theirs = in_format(theirs, model.teacher, getattr(model, 'teacher_channels_last', False))
    return Batch(data['inputs'], theirs, data['data_samples'])


def feature_map(output: Any, layer: str, option: str) -> Tensor:
    """The output of a layer; raises if it is not a feature map.

    Args:
        output (Any): What it gives.
        layer (str): Its name.
        option (str): By which it was chosen.
    """
    if isinstance(output, Tensor) and output.ndim == 4:
        return output
    what = list(output.shape) if isinstance(output, Tensor) else f'a {type(output).__name__}'
    raise ConfigError(f'{option}: {layer!r} gives {what}, not a feature map [N, C, H, W]; name a '
                      'module within or before it')


def finish(name: Path, table: Table, draw: Callable[[Path], None],
           shown: Optional[Table] = None) -> None:
    """Write the csv and the picture, show the table.

    Args:
        name (Path): Of both files, without ending.
        table (Table): What was measured.
        draw (Callable): Draws it into a path.
        shown (Table, optional): What to show of it. Defaults to all.
    """
    csv, picture = name.with_suffix('.csv'), name.with_suffix('.png')
    table.write(csv)
    draw(picture)
    print(f'{(shown or table).markdown()}\n{csv}, {picture}')
