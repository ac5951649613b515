"""Mixed precision on a processor, which mmengine's AmpOptimWrapper refuses."""
from contextlib import contextmanager
from typing import Any, Iterator

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Runs forward and losses in ``torch.autocast('cpu', torch.bfloat16)``.

    Weights, gradients and the optimizer stay in float32; bfloat16 has float32's range, so nothing
    is scaled.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16), SoftmaxFloat32():
            yield


class SoftmaxFloat32(TorchFunctionMode):
    """Softmax and its logarithm in float32, as autocast on a GPU has them.

    On a processor it leaves them in bfloat16, whose 8 bits are too few for the difference of two
    log-probabilities: CWD and KL of similar networks would be noise.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple = (),
                           kwargs: Any = None) -> Any:
        if getattr(func, '__name__', '') in ('softmax', 'log_softmax'):
            args, kwargs = tree_map(_widened, (args, kwargs))
        return func(*args, **(kwargs or {}))


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype == torch.bfloat16 else value
