"""What the bench measures, on steps whose cost is known by hand."""
import gc
import time
import weakref

import pytest
import torch
from torch import nn

from mmdistill_ext.analysis.measure import (
    flops_of,
    interleaved_times,
    profiled,
    saved_bytes,
    shares,
)


def test_rounds_are_interleaved_and_warm_up_is_not_counted():
    order = []
    times = interleaved_times({'a': lambda: order.append('a'), 'b': lambda: time.sleep(.01)},
                              rounds=3, warm_up=2)
    assert len(order) == 5
    assert len(times['a']) == len(times['b']) == 3
    assert min(times['b']) >= .01 > max(times['a'])


def test_flops_of_a_convolution_forward_and_backward():
    conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    inputs = torch.randn(2, 3, 10, 10)
    forward = 2 * (2 * 8 * 10 * 10) * (3 * 3 * 3)
    assert flops_of(lambda: conv(inputs)) == forward
    # The input needs no gradient: backward is the weight's alone.
    assert flops_of(lambda: conv(inputs).sum().backward()) == 2 * forward


@pytest.mark.parametrize('kind, shape', [(nn.Conv2d, (8, 10, 10)), (nn.ConvTranspose2d, (4, 8, 8))])
def test_flops_of_a_convolution_in_groups(kind, shape):
    """Each output (input, if transposed) meets its group's channels; backward is twice as much."""
    conv = kind(4, 8, 3, groups=2, bias=False)
    size = (12, 12) if kind is nn.Conv2d else shape[1:]
    inputs = torch.randn(2, 4, *size, requires_grad=True)
    forward = 2 * (2 * shape[0] * shape[1] * shape[2]) * (conv.weight.shape[1] * 3 * 3)
    assert flops_of(lambda: conv(inputs)) == forward
    assert flops_of(lambda: conv(inputs).sum().backward()) == 3 * forward


def test_saved_bytes_count_what_is_still_kept():
    """Not what was saved for a backward that has run."""
    x = torch.randn(8, 4, requires_grad=True)

    def forward():
        torch.autograd.grad((x * x).sin().sum(), x)
        return (x * 2).exp()  # saves its result
    assert saved_bytes(forward, nn.Identity(), given=[x]) == 8 * 4 * 4


def test_saved_bytes_leave_nothing_behind():
    """An operator that saves its own result would hold itself, out of gc's reach."""
    x, seen = torch.randn(8, 4, requires_grad=True), []

    def forward():
        hidden = x * 2
        seen.append(weakref.ref(hidden))
        return (hidden * hidden).exp()
    saved_bytes(forward, nn.Identity())
    gc.collect()
    assert seen[0]() is None


def test_saved_bytes_count_a_storage_once_and_leave_out_parameters():
    linear = nn.Linear(4, 4, bias=False)
    inputs = torch.randn(8, 4)

    def forward():
        hidden = linear(inputs)  # saves inputs (and the weight, which exists anyway)
        return hidden * hidden  # saves hidden twice
    assert saved_bytes(forward, linear) == (8 * 4 + 8 * 4) * 4


def test_shares_are_of_all_operators_the_dearest_first():
    a = torch.randn(300, 300)
    operators, kernels = profiled(lambda: (a @ a).relu())
    assert operators.keys() >= {'aten::mm', 'aten::relu'} and kernels == 0
    assert list(shares(dict(a=1., b=6., c=3.), most=2).items()) == [('b', .6), ('c', .3)]
