"""A frozen network's weights in the precision of autocast, cast once and not in every forward.

Autocast itself remembers casts of trainable weights only, and until its context ends.
"""
from contextlib import contextmanager
from typing import Dict, Iterator, Optional, Tuple

import torch
from torch import Tensor, nn

from ..utils.found_modules import every_module

KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)  # no subclasses


class CastWeights:
    """Keeps casts of the weights of a frozen network, half their size, beside them.

    Args:
        model (nn.Module): What is trained of it is left to autocast.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._casts: Dict[Tuple[int, str], Tuple[tuple, Tensor]] = {}

    @contextmanager
    def used(self, device: str) -> Iterator[None]:
        """Inside, layers hold their casts where autocast is on.

        Args:
            device (str): Type of the device, such as 'cuda'.
        """
        dtype = _autocast_dtype(device)
        layers = [module for module in every_module(self.model)() if type(module) in KINDS] \
            if dtype else []
        held = []
        try:
            for layer in layers:
                for key, value in layer._parameters.items():
                    # What FSDP has sharded is of another type until the layer runs.
                    if type(value) is nn.Parameter and value.dtype == torch.float32 \
                            and not value.requires_grad:
                        held.append((layer, key, value))
                        layer._parameters[key] = self._cast(layer, key, value, dtype)
            yield
        finally:
            for layer, key, value in held:
                layer._parameters[key] = value

    def _cast(self, layer: nn.Module, key: str, value: Tensor, dtype: torch.dtype) -> Tensor:
        # What changes when a weight is loaded, replaced or moved.
        state = value.data_ptr(), value._version, value.device, dtype
        known = self._casts.get((id(layer), key))
        if known is None or known[0] != state:
            cast = nn.Parameter(value.detach().to(dtype), requires_grad=False)
            known = self._casts[id(layer), key] = state, cast
        return known[1]


def _autocast_dtype(device: str) -> Optional[torch.dtype]:
    """None where autocast is off."""
    if hasattr(torch, 'get_autocast_dtype'):
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    if device == 'cpu':  # PyTorch 2.1
        return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
    return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None
