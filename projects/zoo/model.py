"""A family's model as a student or a teacher, and the batch that it trains on."""
import copy
from pathlib import Path
from typing import Any, List

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmrazor.registry import MODELS
from torch import nn

from .batch import tiny_batch

SIZES = (128, 256, 300, 512)  # pixels for detectors and segmentors, the first that one trains on
CLASSIFIER = 224  # the most for a classifier that takes every size


def load(path: Path) -> Config:
    """A config, with its library as the default scope."""
    config = Config.fromfile(path)
    init_default_scope(config.default_scope)
    hub = MessageHub.get_current_instance()  # what a runner says there
    for name, value in dict(iter=0, epoch=0, max_iters=100, max_epochs=10).items():
        hub.update_info(name, value)
    return config


def build(config: Config, seed: int) -> BaseModel:
    """The model with random weights in place of those that it would load.

    What costs time without regard to the image is made small: mmseg's preprocessor fills up to
    the crop size, its BEiT takes no other, mmdet's second stage gets a thousand proposals.

    Args:
        config (Config): Of a library.
        seed (int): Of the weights.
    """
    fields = copy.deepcopy(config.model)  # some detectors write into it
    if 'data_preprocessor' not in fields and 'data_preprocessor' in config:
        fields.data_preprocessor = config.data_preprocessor
    without_sync(fields)
    if config.default_scope == 'mmseg' and 'img_size' in fields.get('backbone', {}):
        fields.backbone.img_size = SIZES[:1] * 2
    fields.setdefault('_scope_', config.default_scope)
    fields.pop('pretrained', None)
    if 'head' in fields and fields.head.type in ('LeViTClsHead', 'EfficientFormerClsHead'):
        fields.head.distillation = False  # with it mmpretrain does not train them
    if config.default_scope == 'mmdet':  # which fills up to the size of the images in training
        fields.get('data_preprocessor', {}).pop('batch_augments', None)
    torch.manual_seed(seed)
    model = MODELS.build(fields)
    for module in model.modules():
        init = getattr(module, 'init_cfg', None)
        if 'checkpoint' in str(init):
            module.init_cfg = None
        if isinstance(getattr(module, 'pretrained', None), str):  # of DetectoRS's backbones
            module.pretrained = None
        if getattr(module, 'eps', None) == 0:  # of NAS-FCOS: PyTorch 2.11 refuses it
            module.eps = 1e-5
        if type(module).__name__ == 'SegDataPreProcessor':
            module.size, module.size_divisor = None, 32
        for settings in (getattr(module, 'test_cfg', None), getattr(module, 'train_cfg', None)):
            if isinstance(settings, dict):  # a list of a cascade's
                for proposals in (settings, settings.get('rpn_proposal')):
                    if proposals and 'max_per_img' in proposals:
                        proposals['max_per_img'] = 32
    model.init_weights()
    return model


def without_sync(fields: Any) -> None:
    """BatchNorm in the place of mmcv's synchronised one, which is not built but in a group."""
    for part in fields.values() if isinstance(fields, dict) else fields:
        if isinstance(part, dict) and part.get('type') == 'MMSyncBN':
            part['type'] = 'BN'
        if isinstance(part, (dict, list, tuple)):
            without_sync(part)


def sizes_of(config: Config, model: nn.Module) -> List[int]:
    """The image sizes that are tried: for a classifier its own."""
    own = [getattr(module, name) for module in model.modules()
           for name in ('img_size', 'init_input_size') if getattr(module, name, None)][:1]
    own = [size if isinstance(size, int) else max(size) for size in own]
    if config.default_scope != 'mmpretrain':
        return sorted({*SIZES, *own})
    steps = [step for step in config.train_dataloader.dataset.get('pipeline', [])
             if isinstance(step.get('scale', step.get('crop_size')), int)]
    crops = [min(step.get('scale', step.get('crop_size')), CLASSIFIER) for step in steps]
    return [*own, *crops, CLASSIFIER][:1]


def batch_for(config: Config, model: BaseModel, size: int) -> dict:
    """The smallest real batch for a model."""
    mean = getattr(model.data_preprocessor, 'mean', None)
    channels = 3 if mean is None else mean.numel()
    multi = 'MultiLabel' in type(getattr(model, 'head', None)).__name__ \
        or 'CSRA' in type(getattr(model, 'head', None)).__name__
    # mmseg 1.2.2 looks up the weight of the class of a pixel that has none, and fails.
    weights = config.default_scope == 'mmseg' and any(
        getattr(module, 'class_weight', None) is not None for module in model.modules())
    return tiny_batch(config, size, channels=channels, label=[0, 1] if multi else None,
                      ignored=not weights)
