"""Going through a frozen network with a gradient for the input alone."""
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any, Iterator, Optional, Sequence

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ...errors import ConfigError
from ..utils.found_modules import FoundModules, every_module
from .recomputation import checkpointed


class _Conv2d(torch.autograd.Function):
    """A convolution that keeps its weight for backward, and not its input.

    PyTorch's own keeps the input even where the weight gets no gradient.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, stride, padding, dilation, groups):
        y = torch.conv2d(x, weight, bias, stride, padding, dilation, groups)
        ctx.save_for_backward(weight)
        ctx.shape, ctx.settings = x.shape, (stride, padding, dilation, False, (0, 0), groups)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        weight, = ctx.saved_tensors
        # Of the input only shape and layout are read.
        x = grad if grad.shape == ctx.shape else torch.empty(
            ctx.shape, dtype=grad.dtype, device=grad.device,
            memory_format=torch.contiguous_format if grad.is_contiguous() else torch.channels_last)
        grad_x, _, _ = _convolution_backward(
            grad, x, weight.to(grad.dtype), None, *ctx.settings, (True, False, False))
        return grad_x, None, None, None, None, None, None


class _ReLU(torch.autograd.Function):
    """A ReLU that keeps one byte for each element: where it was positive.

    ``masked_fill`` would do the same, ten times slower on a CPU, and give a gradient in
    channels_last back as contiguous.
    """

    @staticmethod
    def forward(ctx, x, inplace):
        if inplace:
            ctx.mark_dirty(x)
        y = x.relu_() if inplace else x.relu()
        ctx.save_for_backward(y.gt(0))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        positive, = ctx.saved_tensors
        return grad.mul(positive), None


_convolution_backward = torch.ops.aten.convolution_backward.default


# Their parameters have PyTorch's names, by which a model may call them.
def _conv2d(input: Tensor, weight: Tensor, bias=None, stride=1, padding=0, dilation=1, groups=1):
    if isinstance(padding, str) or input.ndim != 4:
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    pairs = [(value, value) if type(value) is int else value
             for value in (stride, padding, dilation)]
    return _Conv2d.apply(input, weight, bias, *pairs, groups)


def _relu(input: Tensor, inplace: bool = False) -> Tensor:
    return _ReLU.apply(input, inplace)


LEAN = {torch.conv2d: _conv2d, F.relu: _relu}


class _KeepLittle(TorchFunctionMode):

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return (LEAN[function] if function in LEAN else function)(*args, **kwargs or {})


@lru_cache(maxsize=None)  # the line comes once
def _keep_all(place: str) -> nullcontext:
    """A recomputation would run without ``_KeepLittle``, and must save as many tensors."""
    print_log(f'FCFD: the teacher is checkpointed at {place!r}, so all its layers keep for '
              'backward what PyTorch keeps', logger='current')
    return nullcontext()


@contextmanager
def input_grad_only(model: nn.Module) -> Iterator[None]:
    """No weight of ``model`` gets a gradient from what runs inside, and little is kept for it.

    A model that is checkpointed keeps for backward what its checkpoints keep.

    Args:
        model (nn.Module): Its parameters are as before afterwards, so that it can be trained on
            another path; :func:`check_not_recomputed` says where that needs more.
    """
    found = every_module(model)
    trainable = found.kept_for_step(FoundModules.trainable)
    place = found.kept_for_step(checkpointed)
    try:
        for parameter in trainable:
            parameter.requires_grad_(False)
        with _KeepLittle() if place is None else _keep_all(place):
            yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


def check_not_recomputed(model: nn.Module, starts: Sequence[Any],
                         outputs: Sequence[Tensor]) -> None:
    """Raise if a trained model would get a gradient from what ran in ``input_grad_only``.

    A reentrant checkpoint runs it again in backward, after that context has ended.

    Args:
        model (nn.Module): What ran. One that is not trained gets no gradient anyway.
        starts (Sequence): The ``grad_fn`` of its inputs, from before it ran.
        outputs (Sequence[Tensor]): What it returned.
    """
    if not every_module(model).kept_for_step(FoundModules.trainable):
        return
    seen = set(starts)
    nodes: list = [output.grad_fn for output in outputs]
    while nodes:
        node: Optional[Any] = nodes.pop()
        if node is None or node in seen:
            continue
        if node.name() == 'CheckpointFunctionBackward':
            raise ConfigError(
                f'the {type(model).__name__} that FCFD goes through is trained too, and its '
                'recomputation in backward would train it on the mixed paths; checkpoint the '
                'student alone (with_cp=False in the teacher, no activation_checkpointing there)')
        seen.add(node)
        nodes += [other for other, _ in node.next_functions]
