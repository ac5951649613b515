"""Activation checkpointing, which runs parts of a forward once more in backward."""
from typing import Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn

from ..utils.found_modules import FoundModules, every_module
from .path_stats import BUFFERS, norms_of

_current_backward = torch._C._current_graph_task_id


def count_once(*models: nn.Module) -> None:
    """Let each BatchNorm layer count a batch in forward only.

    A recomputed layer would count its batch twice and, since a mixed path has ended by then, the
    batch of a mixed path as one of the pure path. What it returns does not depend on it: in
    training it normalises by the batch.

    To be called in each training step, because SyncBN replaces layers after building. A layer that
    is prepared already is left alone.

    Args:
        models (nn.Module): Student, teacher and bridges.
    """
    for model in models:
        every_module(model).kept(_prepare)


def _prepare(modules: List[Tuple[str, nn.Module]]) -> None:
    for layer in norms_of(modules):
        if _put_aside not in layer._forward_pre_hooks.values():
            layer.register_forward_pre_hook(_put_aside)


def checkpointed(found: FoundModules) -> Optional[str]:
    """The first module that says it is checkpointed, None if none does.

    Args:
        found (FoundModules): Of a model. They may have a flag (``with_cp`` of OpenMMLab,
            ``use_checkpoint``, ``grad_checkpointing``), a forward that mmengine's
            ``activation_checkpointing`` replaced, or PyTorch's ``CheckpointWrapper``.
    """
    for name, module, flags in found.kept(_flags_of):
        own = module.__dict__
        if 'forward' in own or '_checkpoint_wrapped_module' in module._modules \
                or flags and any(own.get(flag) is True for flag in flags):
            return name
    return None


def _flags_of(modules: List[Tuple[str, nn.Module]]) \
        -> List[Tuple[str, nn.Module, List[str]]]:
    """For each module its name, and those of its attributes that may say so."""
    return [(name, module, [key for key in vars(module)
                            if key == 'with_cp' or 'checkpoint' in key])
            for name, module in modules]


def _put_aside(layer: nn.Module, _) -> None:
    # Without gradient nothing is recomputed; asking further would cut torch.compile's graph. Inside
    # a backward, then; PyTorch's own checkpointing asks it the same way.
    if not torch.is_grad_enabled() or _current_backward() == -1 or not layer.training \
            or layer._buffers.get('running_mean') is None:
        return
    own: Dict[str, Optional[Tensor]] = {name: layer._buffers[name] for name in BUFFERS}
    layer._buffers.update({name: value if value is None else value.clone()
                           for name, value in own.items()})

    def put_back(*_) -> None:
        layer._buffers.update(own)
        handle.remove()

    # Also after an error: PyTorch ends a recomputation by one as soon as it has enough.
    handle = layer.register_forward_hook(put_back, always_call=True)
