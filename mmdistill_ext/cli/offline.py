"""Leaves out of a config what would have to be fetched, or needs a GPU that is not there."""
from typing import Dict, List, Tuple

import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmrazor.registry import MODELS
from torch import nn

from ..checkpoints.load import is_here

AMP_FIELDS = ('loss_scale', 'dtype', 'use_fp16')


def without_gpu(cfg: Config) -> List[str]:
    """Leave out what only a GPU can do, so that a login node can say the rest."""
    if torch.cuda.is_available():
        return []
    left_out = []
    wrapper = cfg.optim_wrapper.get('architecture', cfg.optim_wrapper)
    if wrapper.get('type') == 'AmpOptimWrapper':
        left_out.append('mixed precision, which needs a GPU')
        wrapper.type = 'OptimWrapper'
        for field in AMP_FIELDS:
            wrapper.pop(field, None)
    if cfg.get('sync_bn'):
        left_out.append('SyncBN, which needs GPUs')
        cfg.sync_bn = None
    return left_out


def from_here(model: dict) -> Tuple[dict, List[str]]:
    """The config of a model that asks for nothing that is not on this machine."""
    left_out = []
    architecture, teacher = model.get('architecture'), model.get('teacher')
    if isinstance(architecture, dict) and architecture.get('pretrained') is True:
        left_out.append(f'the weights of {architecture["cfg_path"]}, which are not fetched')
        model['architecture'] = dict(architecture, pretrained=False)
    if isinstance(teacher, dict):
        address = model.get('teacher_ckpt')
        if not address and teacher.get('pretrained') is True:
            address = get_config(teacher['cfg_path'], pretrained=True).model_path
        if address and '://' in address and not is_here(address):
            left_out.append(f'teacher_ckpt={address!r}, which is not fetched: the teacher has '
                            'random weights')
            settings = {key: value for key, value in teacher.items() if key != 'pretrained'}
            model['teacher'] = MODELS.build(settings)
            forget_addresses(model['teacher'])
            model.pop('teacher_ckpt', None)
    return model, left_out


def forget_addresses(model: nn.Module) -> List[str]:
    """Take addresses out of what ``init_weights`` will load."""
    found: Dict[str, None] = {}
    for module in model.modules():
        init = getattr(module, 'init_cfg', None) or []
        parts = list(init) if isinstance(init, (list, tuple)) else [init]
        far = [part for part in parts if '://' in str(part.get('checkpoint'))]
        if far:
            module.init_cfg = [part for part in parts if part not in far]
            found.update({str(part['checkpoint']): None for part in far})
    return [f'the weights at {address}, which are not fetched' for address in found]
