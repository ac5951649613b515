"""Through a frozen network: the same numbers, no gradient for its weights, little kept."""
import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmdistill_ext.models.fcfd.input_grad import input_grad_only


class Net(nn.Module):

    def __init__(self, inplace):
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=inplace),
            nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=3, bias=False), nn.BatchNorm2d(6),
            nn.ReLU(inplace=inplace), nn.Conv2d(6, 5, 1, padding='same'),
            nn.Conv2d(5, 4, 3, dilation=2, padding_mode='reflect', padding=2))
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(F.relu(self.convs(x)).mean((2, 3)))


def saved_bytes(run):
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = run()
    return result, sum(size for size, _ in kept.values())


@pytest.mark.parametrize('inplace', [False, True])
@pytest.mark.parametrize('dtype', [torch.double, torch.float])
def test_same_output_and_gradient(inplace, dtype):
    torch.manual_seed(0)
    plain = Net(inplace).to(dtype)
    lean = copy.deepcopy(plain)
    x = torch.randn(4, 3, 9, 8, dtype=dtype)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    expected = plain(inputs[0])
    with input_grad_only(lean):
        output = lean(inputs[1])
    assert torch.equal(output, expected)
    for out in (expected, output):
        out.square().sum().backward()
    assert torch.equal(inputs[0].grad, inputs[1].grad) and inputs[0].grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in lean.parameters())
    assert all(parameter.requires_grad for parameter in lean.parameters())


class ByName(nn.Module):
    """As mmseg's DMNet calls it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 1, 3, 3))

    def forward(self, x):
        x = F.conv2d(input=x, weight=self.weight, stride=1, groups=4, padding=1)
        return F.relu(input=x, inplace=False)


def test_functions_called_with_pytorchs_names():
    torch.manual_seed(0)
    net, x = ByName(), torch.randn(2, 4, 5, 5, requires_grad=True)
    expected, = torch.autograd.grad(net(x).square().sum(), x)
    with input_grad_only(net):
        through = net(x)
    assert torch.equal(torch.autograd.grad(through.square().sum(), x)[0], expected)


def test_flags_are_restored_after_an_error():
    net = Net(False)
    net.fc.requires_grad_(False)
    before = [parameter.requires_grad for parameter in net.parameters()]
    with pytest.raises(RuntimeError, match='boom'), input_grad_only(net):
        assert not any(parameter.requires_grad for parameter in net.parameters())
        raise RuntimeError('boom')
    assert [parameter.requires_grad for parameter in net.parameters()] == before


def test_a_weight_that_trains_elsewhere_gets_that_gradient_alone():
    torch.manual_seed(0)
    net = Net(False)
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    trained = net(x).sum()
    with input_grad_only(net):
        through = net(x * 2).square().sum()
    grads = torch.autograd.grad(trained, list(net.parameters()), retain_graph=True)
    (trained + through).backward()
    for parameter, grad in zip(net.parameters(), grads):
        assert torch.equal(parameter.grad, grad)


def test_what_is_kept_for_backward():
    """Per conv-bn-relu the batch norm's input, and one byte an element for the ReLU."""
    net = nn.Sequential(*[layer for _ in range(5) for layer in (
        nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())])
    x = torch.randn(4, 8, 16, 16, requires_grad=True)
    elements = x.numel()

    def run():
        with input_grad_only(net):
            return net(x)

    _, lean = saved_bytes(run)
    net.requires_grad_(False)
    _, plain = saved_bytes(lambda: net(x))
    small = 5 * (8 * 8 * 9 + 6 * 8) * 4  # weights and statistics
    assert 5 * 5 * elements <= lean <= 5 * 5 * elements + small
    assert plain > 1.5 * lean


@pytest.mark.parametrize('inplace', [False, True])
@pytest.mark.parametrize('stride', [1, 2])
def test_a_gradient_lies_as_the_feature_does(inplace, stride):
    """What comes back in another layout is slow in the BatchNorm before it."""
    net = nn.Sequential(nn.Conv2d(4, 8, 3, stride, 1), nn.ReLU(inplace), nn.Conv2d(8, 8, 3))
    seen = []

    def watch(_, __, output):
        output.register_hook(seen.append)

    nn.Module.to(net, memory_format=torch.channels_last)[0].register_forward_hook(watch)
    x = torch.randn(2, 4, 16, 16).to(memory_format=torch.channels_last).requires_grad_()
    with input_grad_only(net):
        out = net(x)
    out.backward(torch.ones_like(out))
    for grad in (*seen, x.grad):
        assert grad.is_contiguous(memory_format=torch.channels_last)


def test_under_autocast():
    torch.manual_seed(0)
    net = Net(False)
    net.convs[-1].padding_mode = 'zeros'
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    grads = []
    for context in (lambda: input_grad_only(net), lambda: torch.enable_grad()):
        with torch.autocast('cpu', dtype=torch.bfloat16), context():
            out = net(x)
        assert out.dtype == torch.bfloat16
        grads.append(torch.autograd.grad(out.float().square().sum(), x)[0])
    assert grads[0].dtype == torch.float and torch.equal(*grads)
