"""A loss of which only the gradient is kept for backward, and nothing it was computed with."""
from typing import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _GradientKept(torch.autograd.Function):

    @staticmethod
    def forward(ctx, loss: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = loss(x)
            ctx.save_for_backward(*torch.autograd.grad(value, x))
        return value.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        gradient, = ctx.saved_tensors
        return None, gradient * grad


def gradient_kept(loss: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``loss(x)``, whose backward is computed at once: one tensor is kept, of the size of ``x``.

    For a loss of many steps on a tensor that is large beside what the networks keep. Not to be
    differentiated twice.

    Args:
        loss (Callable): Gives a scalar; of what it uses only ``x`` gets a gradient.
        x (Tensor): What it is computed from.
    """
    if torch.is_grad_enabled() and x.requires_grad:
        return _GradientKept.apply(loss, x)
    return loss(x)
