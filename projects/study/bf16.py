"""Mixed precision on a processor, which mmengine's AmpOptimWrapper refuses."""
from contextlib import contextmanager
from typing import Iterator

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Runs forward and losses in ``torch.autocast('cpu', torch.bfloat16)``.

    Weights, gradients and the optimizer stay in float32; bfloat16 has float32's range, so nothing
    is scaled.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield
