"""Counts the floating point operations of a recipe's training, on one image or two."""
import copy
import json
import re
from functools import partial
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, Iterator, List, NamedTuple, Optional, Tuple

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmrazor.registry import MODELS
from torch import nn

from mmdistill_ext.analysis.measure import flop_counter, flops_of
from mmdistill_ext.errors import ConfigError

from .batches import random_batch

# Of the training split; COCO's without images that have no object.
IMAGES = {'CIFAR100': 50000, 'ImageNet': 1281167, 'CocoDataset': 117266}
TASKS = dict(mmpretrain='cls', mmdet='det', mmseg='seg')
# Whole pixels at each stride, up to 128; with a RoI head large enough for all the boxes it samples.
SMALL, BOXES = ((128, 128), (128, 256)), ((256, 256), (256, 384))
ASPECT = 4 / 3  # of COCO's images, mostly


class Counts(NamedTuple):
    """GFLOP of an image, forward and backward.

    Args:
        student (float): The student alone, trained without a teacher.
        teacher (float): The teacher's forward, as far as it runs.
        all (float): The whole step; FCFD's is the mean over the paths that may be drawn.
    """
    student: float
    teacher: float
    all: float


def seen_images(config: Config, name: str) -> Tuple[int, int]:
    """Images in the whole training, and in a step of all GPUs.

    Args:
        config (Config): The recipe.
        name (str): Its file name, which states the GPUs where nothing else does (``8xb2``).
    """
    base = (config.get('auto_scale_lr') or {}).get('base_batch_size')
    stated = re.search(r'_(\d+)xb(\d+)', name)
    step = base or int(stated[1]) * int(stated[2])  # type: ignore[index]
    if 'max_iters' in config.train_cfg:
        return config.train_cfg.max_iters * step, step
    return config.train_cfg.max_epochs * IMAGES[config.train_dataloader.dataset.type], step


def image_size(config: Config) -> Tuple[int, int]:
    """Height and width that a network sees in training; a landscape one where images differ."""
    pipeline: List[Any] = []
    for step in config.train_dataloader.dataset.pipeline:  # of several ways the first
        pipeline += step.transforms[0] if step.type == 'RandomChoice' else [step]
    for step in pipeline:
        if 'crop_size' in step:
            size = step.crop_size
            return (size, size) if isinstance(size, int) else tuple(size)
        if step.type == 'RandomResizedCrop':
            return step.scale, step.scale
    for step in pipeline:
        if step.get('scale') or step.get('scales'):
            sizes = [_padded(min(scale), max(scale)) for scale in step.get(
                'scales', [step.get('scale')])]
            mean = sum(h * w for h, w in sizes) / len(sizes)
            return min(sizes, key=lambda size: abs(size[0] * size[1] - mean))
    raise ConfigError('no size in the pipeline')


def _padded(short: int, most: int) -> Tuple[int, int]:
    return tuple(-(-side // 32) * 32  # type: ignore[return-value]
                 for side in (short, min(round(short * ASPECT), most)))


def build(config: Config) -> BaseModel:
    """The algorithm with PyTorch's random weights, in training mode; nothing is fetched."""
    init_default_scope(config.default_scope)
    torch.manual_seed(0)
    model = copy.deepcopy(config.model)
    if config.get('data_preprocessor'):
        model.setdefault('data_preprocessor', config.data_preprocessor)
    if model.pop('teacher_ckpt', None):
        model.random_teacher = True
    built = MODELS.build(model)
    built.train()
    return built


def count(config: Config, students: Dict[str, float]) -> Counts:
    """Count a recipe at its own image size.

    Detectors and segmentors are counted at two small sizes: their operations are a constant (heads
    that see so many boxes) and a multiple of the pixels.

    Args:
        config (Config): The recipe.
        students (dict): What students alone have counted before; this one's is added.
    """
    size, model = image_size(config), build(config)
    if config.default_scope == 'mmpretrain':
        return count_at(config, model, students, size)
    two_stage = getattr(model.architecture, 'roi_head', None) is not None
    # DINO takes its 900 queries from as many positions at least.
    sizes = BOXES if two_stage or hasattr(model.architecture, 'num_queries') else SMALL
    small, large = (count_at(config, model, students, each, 1 if two_stage else 2)
                    for each in sizes)
    pixels = [height * width for height, width in (*sizes, size)]
    share = (pixels[2] - pixels[0]) / (pixels[1] - pixels[0])
    student, teacher, whole = (a + (b - a) * share for a, b in zip(small, large))
    if _attends(getattr(model, 'teacher', None)):
        # Attention grows faster than the pixels, and windows are filled up: at its own size.
        batch = random_batch(TASKS[config.default_scope], (1, 3, *size))
        with _plain_attention():
            own = flops_of(lambda: model.run_teacher(batch['inputs'], batch['data_samples'])) / 1e9
        teacher, whole = own, whole - teacher + own
    return Counts(student, teacher, whole)


def _attends(network: Optional[nn.Module]) -> bool:
    return network is not None and any(
        'Attention' in type(module).__name__ or 'MSA' in type(module).__name__
        for module in network.modules())


def _plain_attention() -> ContextManager:
    """Attention by matrix products: torch does not count its operator for the CPU."""
    if hasattr(torch.nn, 'attention'):
        return torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    return torch.backends.cuda.sdp_kernel(  # PyTorch 2.1
        enable_flash=False, enable_math=True, enable_mem_efficient=False)


def count_at(config: Config, model: BaseModel, students: Dict[str, float], size: Tuple[int, int],
             images: int = 2) -> Counts:
    """Count a step of a recipe at one image size.

    Args:
        config (Config): The recipe.
        model (BaseModel): Of it.
        students (dict): As above.
        size (tuple[int, int]): Height and width.
        images (int): Defaults to two, which BatchNorm of one pixel needs.
    """
    batch = random_batch(TASKS[config.default_scope], (images, 3, *size))
    pipeline = config.train_dataloader.dataset.get('pipeline', ())
    if config.default_scope == 'mmdet' and not any(step.get('with_mask') for step in pipeline):
        for sample in batch['data_samples']:
            del sample.gt_instances.masks
    key = json.dumps([config.model.get('architecture', config.model), size], default=str)
    if key not in students:
        student = getattr(model, 'architecture', model)
        students[key] = _step(student, batch)[0] / images / 1e9
    teacher, totals = 0., []
    for draw in _draws(model):
        draw()
        total, teacher = _step(model, batch)
        totals.append(total)
    whole = totals[0] if len(totals) == 1 else totals[0] + (totals[1] - totals[0]) * _share(model)
    return Counts(students[key], teacher / images / 1e9, whole / images / 1e9)


def _draws(model: BaseModel) -> Iterator[Callable[[], Any]]:
    """No path and all paths, of FCFD that draws some: what lies between grows path by path."""
    sampler = getattr(model, 'sampler', None)
    if sampler is None or not sampler.samples:
        yield lambda: None
        return
    drawn: List[list] = [[], sampler.candidates]
    for paths in drawn:
        yield partial(setattr, sampler, 'sample', lambda *_, paths=paths: paths)


def _share(model: BaseModel) -> float:
    return model.sampler.num / len(model.sampler.candidates)


def _step(model: BaseModel, batch: dict) -> Tuple[float, float]:
    """Operations of forward and backward, and of the teacher's forward within."""
    teacher = [0]
    with flop_counter() as counter, _plain_attention(), _Deformable(model) as deformable:

        def now() -> int:
            return counter.get_total_flops() + deformable.flops

        run_teacher = getattr(model, 'run_teacher', None)
        if run_teacher is not None:

            def counted(*args):
                before = now()
                losses = run_teacher(*args)
                teacher[0] += now() - before
                return losses

            model.run_teacher = counted
        loss, _ = model.parse_losses(model(**copy.deepcopy(batch), mode='loss'))
        loss.backward()
        if run_teacher is not None:
            model.run_teacher = run_teacher
        return now(), teacher[0]


class _Deformable:
    """mmcv's deformable convolutions, which torch does not count: as the plain ones.

    Backward, where there is one, is two more of the same.
    """

    def __init__(self, model: nn.Module) -> None:
        from mmcv.ops import DeformConv2d, ModulatedDeformConv2d
        self.kinds = (DeformConv2d, ModulatedDeformConv2d)
        self.model, self.flops = model, 0

    def __enter__(self) -> '_Deformable':
        self.handles = [module.register_forward_hook(self._add) for module in self.model.modules()
                        if isinstance(module, self.kinds)]
        return self

    def __exit__(self, *_) -> None:
        for handle in self.handles:
            handle.remove()

    def _add(self, module: nn.Module, _, output: torch.Tensor) -> None:
        forward = 2 * output.numel() * module.weight[0].numel()
        self.flops += forward * (3 if output.requires_grad else 1)


def recipes(configs: Path) -> Iterator[Path]:
    """Every config that trains something."""
    yield from sorted(path for path in configs.rglob('*.py')
                      if not any(part.startswith('_base_') for part in path.parts))
