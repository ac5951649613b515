"""What the config tests need: a config's model without downloads, and the smallest real batch."""
from functools import lru_cache
from pathlib import Path

import numpy as np
from mmdet.models import TwoStageDetector
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.config import utils as config_utils
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, TRANSFORMS, init_default_scope
from mmseg.models import SegDataPreProcessor
from torch import nn

CONFIGS = Path(__file__).parents[2] / 'configs'
# mmengine reads all metafiles of a library anew for every config that it takes from there.
config_utils.load = lru_cache(maxsize=None)(config_utils.load)

PACKERS = dict(mmpretrain='PackInputs', mmdet='PackDetInputs', mmseg='PackSegInputs')


def recipes():
    """Every config under configs/ that trains something: all but the bases in ``_base_``."""
    return sorted(path for path in CONFIGS.rglob('*.py')
                  if not any(part.startswith('_base_') for part in path.parts))


def load(path) -> Config:
    """The config at ``path`` (below configs/), with its library as the default scope."""
    config = Config.fromfile(CONFIGS / path)
    init_default_scope(config.default_scope)
    return config


def without_scope(part):
    """A part of a config without the scopes that ``_base_`` of another library adds."""
    if isinstance(part, dict):
        return {key: without_scope(value) for key, value in part.items() if key != '_scope_'}
    return [without_scope(item) for item in part] if isinstance(part, (list, tuple)) else part


def build_model(config: Config):
    """The model as a runner builds and initialises it, with random weights for loaded ones.

    What costs time without regard to the image is made tiny too: mmseg's preprocessor fills up to
    the crop size, mmdet's second stage gets a thousand proposals.
    """
    model = config.model.copy()
    if config.get('data_preprocessor'):
        model.setdefault('data_preprocessor', config.data_preprocessor)
    if model.pop('teacher_ckpt', None):
        model.random_teacher = True
    model = MODELS.build(model)
    for module in model.modules():
        init = getattr(module, 'init_cfg', None)
        if isinstance(init, dict) and init['type'] == 'Pretrained':
            module.init_cfg = None
        if isinstance(module, SegDataPreProcessor):
            module.size = None if module.size is None else (tiny_size(config),) * 2
        if isinstance(module, TwoStageDetector):
            module.train_cfg['rpn_proposal']['max_per_img'] = 32
            module.rpn_head.test_cfg['max_per_img'] = 32
    model.init_weights()
    for parameter in getattr(model, 'teacher', nn.Module()).parameters():
        if parameter.ndim == 4:  # else each random block doubles the variance: 1e9 after 27 blocks
            parameter.data.mul_(.7)
    return model


def build_optimizer(config: Config, model) -> OptimWrapper:
    """The config's optimizer; AMP, which mmengine has on accelerators only, is left out."""
    optim_wrapper = config.optim_wrapper.copy()
    if optim_wrapper.get('type') == 'AmpOptimWrapper':
        optim_wrapper.type = 'OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fp16'):
            optim_wrapper.pop(key, None)
    return build_optim_wrapper(model, optim_wrapper)


def tiny_size(config: Config) -> int:
    """Pixels: an FPN needs 128 for its coarsest level; CIFAR nets are made for 32.

    DINO's 900 queries are taken from as many positions at least.
    """
    if config.default_scope == 'mmdet':
        return 256 if 'mmdet::dino/' in str(config.model.architecture) else 128
    return 32 if 'cifar' in config.train_dataloader.dataset.type.lower() else 64


def tiny_batch(config: Config, size: int, images: int = 2) -> dict:
    """A batch as the dataloader gives it: raw uint8 images and the library's data samples.

    Every image has two objects, of the classes 0 and 1 that all datasets have; with masks where the
    config loads them.
    """
    pipeline = config.train_dataloader.dataset.get('pipeline', ())
    random = np.random.RandomState(0)
    pack = TRANSFORMS.build(dict(type=PACKERS[config.default_scope]))
    samples = []
    for index in range(images):
        segments = np.zeros((size, size), np.uint8)
        segments[size // 2:] = 1
        if 'Cityscapes' in config.train_dataloader.dataset.type:
            segments[:4] = 255  # ignored; the embedded data has no such pixels
        masks = np.zeros((2, size, size), np.uint8)
        masks[0, 8:size // 2, 8:size // 2] = 1
        masks[1, size // 4:-4, size // 4:-4] = 1
        more = {}
        if any(step.get('with_mask') for step in pipeline):
            more['gt_masks'] = BitmapMasks(masks, size, size)
        samples.append(pack(dict(
            **more, img=random.randint(0, 256, (size, size, 3), np.uint8),
            img_id=index, img_path=f'{index}.jpg', img_shape=(size, size), ori_shape=(size, size),
            pad_shape=(size, size), scale_factor=(1., 1.), flip=False, flip_direction=None,
            gt_label=index % 2,
            gt_bboxes=HorizontalBoxes(np.array(
                [[8, 8, size // 2, size // 2], [size // 4, size // 4, size - 4, size - 4]],
                np.float32)),
            gt_bboxes_labels=np.array([0, 1]), gt_ignore_flags=np.array([False, False]),
            gt_seg_map=segments, seg_fields=['gt_seg_map'])))
    return pseudo_collate(samples)
