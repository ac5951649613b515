"""Bridges: the layer for each ratio of sizes, its initialization, and what does not fit."""
import math

import pytest
import torch
from mmrazor.registry import MODELS
from torch import nn
from torch.nn import functional as F

import mmdistill_ext  # noqa: F401
from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.fcfd.bridges import bridge_between
from mmdistill_ext.models.fcfd.features import Feature


def build(**kwargs):
    torch.manual_seed(0)
    return MODELS.build(dict(type='FCFDBridge', in_channels=40, out_channels=60, **kwargs))


@pytest.mark.parametrize('scale, kind, parameters', [
    (1, nn.Conv2d, 40 * 60 * 9), (0.5, nn.Conv2d, 40 * 60 * 9 + 60),
    (2, nn.ConvTranspose2d, 40 * 60 * 16 + 60)])
def test_layers(scale, kind, parameters):
    bridge = build(scale=scale)
    assert type(bridge.conv) is kind
    assert sum(p.numel() for p in bridge.parameters()) == parameters + 2 * 60
    size = int(8 * scale)
    assert bridge(torch.randn(2, 40, 8, 8)).shape == (2, 60, size, size)


@pytest.mark.parametrize('scale', [1, 0.5, 2])
@pytest.mark.parametrize('post_relu', [False, True])
def test_conv_batch_norm_and_activation(scale, post_relu):
    bridge = build(scale=scale, post_relu=post_relu).double()
    x = torch.randn(3, 40, 6, 6, dtype=torch.double, requires_grad=True)
    weight, bias = bridge.conv.weight, bridge.conv.bias
    y = {1: lambda: F.conv2d(x, weight, padding=1),
         0.5: lambda: F.conv2d(x, weight, bias, stride=2, padding=1),
         2: lambda: F.conv_transpose2d(x, weight, bias, stride=2, padding=1)}[scale]()
    mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), unbiased=False, keepdim=True)
    y = (y - mean) / (var + 1e-5).sqrt()
    if post_relu:
        y = torch.where(y > 0, y, 0.1 * y)
    assert torch.allclose(bridge(x), y, rtol=1e-10, atol=1e-12)
    assert (y < 0).any()
    expected, = torch.autograd.grad(y.sin().sum(), x)
    assert torch.allclose(torch.autograd.grad(bridge(x).sin().sum(), x)[0], expected)


PYTORCHS = {  # the same convolution as PyTorch initialises it
    1: lambda: nn.Conv2d(40, 60, 3, padding=1, bias=False),
    0.5: lambda: nn.Conv2d(40, 60, 3, stride=2, padding=1),
    2: lambda: nn.ConvTranspose2d(40, 60, 4, stride=2, padding=1)}


@pytest.mark.parametrize('scale', [1, 0.5, 2])
def test_initialization(scale):
    bridge = build(scale=scale)
    bridge.init_weights()  # as a runner does, which changes nothing
    torch.manual_seed(0)
    pytorchs, weight = PYTORCHS[scale](), bridge.conv.weight
    if scale == 2:
        assert torch.equal(weight, pytorchs.weight)
    else:
        std = math.sqrt(2 / (60 * 3 * 3))  # fan out
        assert weight.std().item() == pytest.approx(std, rel=0.03)
        assert abs(weight.mean().item()) < 0.06 * std
        assert (weight.abs() > 2 * std).float().mean().item() == pytest.approx(0.0455, abs=0.01)
    if scale == 1:
        assert bridge.conv.bias is None
    else:
        assert torch.equal(bridge.conv.bias, pytorchs.bias) and pytorchs.bias.abs().min() > 0
    assert (bridge.bn.weight == 1).all() and (bridge.bn.bias == 0).all()


def test_scale():
    with pytest.raises(ConfigError, match='scale is 3; expected one of 0.5, 1, 2'):
        build(scale=3)


def stage(channels, size, image=64, post_relu=False):
    return Feature('backbone.layer1', channels, (size, size), image, post_relu)


@pytest.mark.parametrize('source, target, kind, stride', [
    (stage(8, 16), stage(12, 16), nn.Conv2d, 1), (stage(8, 16), stage(12, 8), nn.Conv2d, 2),
    (stage(8, 16), stage(12, 32), nn.ConvTranspose2d, 2),
    (stage(8, 16, 64), stage(12, 56, 224), nn.Conv2d, 1),
    (stage(8, 28, 224), stage(12, 16, 64), nn.ConvTranspose2d, 2)])
def test_between_two_stages(source, target, kind, stride):
    bridge = bridge_between(source, target)
    assert type(bridge.conv) is kind and bridge.conv.stride == (stride, stride)
    assert (bridge.conv.in_channels, bridge.conv.out_channels) == (8, 12)
    assert isinstance(bridge.act, nn.Identity)
    active = bridge_between(source, target._replace(post_relu=True)).act
    assert isinstance(active, nn.LeakyReLU) and active.negative_slope == 0.1


@pytest.mark.parametrize('source, target, factor', [
    (stage(8, 16), stage(12, 48), '3'), (stage(8, 48), stage(12, 16), '1/3'),
    (stage(8, 16), stage(12, 64), '4'),
    (stage(8, 16), stage(12, 16)._replace(size=(16, 8)), '1 by 1/2')])
def test_other_ratios_are_errors(source, target, factor):
    with pytest.raises(ConfigError) as error:
        bridge_between(source, target)
    message = str(error.value)
    assert f'changes {factor} times' in message and 'expected one of 1/2, 1, 2' in message
    assert str(source) in message and str(target) in message
