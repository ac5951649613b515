"""Going through a frozen network with a gradient for the input alone."""
from contextlib import contextmanager
from typing import Iterator

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ..utils.found_modules import every_module


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
        # Only the shape of the input is read.
        x = grad if grad.shape == ctx.shape else grad.new_empty(ctx.shape)
        grad_x, _, _ = torch.ops.aten.convolution_backward(
            grad, x, weight.to(grad.dtype), None, *ctx.settings, (True, False, False))
        return grad_x, None, None, None, None, None, None


def _pair(value) -> tuple:
    return (value, value) if isinstance(value, int) else tuple(value)


def _conv2d(x: Tensor, weight: Tensor, bias=None, stride=1, padding=0, dilation=1, groups=1):
    if isinstance(padding, str) or x.ndim != 4:
        return torch.conv2d(x, weight, bias, stride, padding, dilation, groups)
    return _Conv2d.apply(
        x, weight, bias, _pair(stride), _pair(padding), _pair(dilation), groups)


def _relu(input: Tensor, inplace: bool = False) -> Tensor:
    """A ReLU that keeps one byte for each element: where it was not positive."""
    fill = input.masked_fill_ if inplace else input.masked_fill
    return fill(input <= 0, 0)


LEAN = {torch.conv2d: _conv2d, F.relu: _relu}


class _KeepLittle(TorchFunctionMode):

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return LEAN.get(function, function)(*args, **kwargs or {})


@contextmanager
def input_grad_only(model: nn.Module) -> Iterator[None]:
    """No weight of ``model`` gets a gradient from what runs inside, and little is kept for it.

    Args:
        model (nn.Module): Its parameters are as before afterwards, so that it can be trained on
            another path.
    """
    trainable = every_module(model).trainable()
    try:
        for parameter in trainable:
            parameter.requires_grad_(False)
        with _KeepLittle():
            yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
