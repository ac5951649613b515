import pytest
import torch
from mmcv.ops import DeformConv2d, DeformConv2dPack
from mmrazor.models.architectures.connectors.base_connector import BaseConnector
from mmrazor.registry import MODELS
from torch.nn import functional as F

from mmdistill_ext.errors import ConfigError

IN, OUT = 6, 10


def deformable(cin, cout):  # weight, and a 3x3 convolution that gives 2 offsets for 9 points
    return cin * cout * 9 + cin * 18 * 9 + 18


PARAMETERS = {  # from IN to OUT channels
    'LinearConnector': IN * OUT + OUT,
    'MLPConnector': IN * OUT + OUT + OUT * OUT + OUT,
    'Conv3x3Connector': 9 * IN * OUT + OUT + 9 * OUT * OUT + OUT,
    'DeformableConnector': deformable(IN, OUT) + deformable(OUT, OUT),
    # theta, phi and g to half the channels and back, then 1x1
    'NonLocalConnector': 3 * (IN * IN // 2 + IN // 2) + IN * IN // 2 + IN + IN * OUT + OUT,
}


def build(name, cin=IN, cout=OUT, **kwargs):
    torch.manual_seed(0)
    return MODELS.build(dict(type=name, in_channels=cin, out_channels=cout, **kwargs))


def randomized(module):
    """Zero-initialised parameters (offsets, the non-local output) must not hide a mistake."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return module


@pytest.mark.parametrize('name', PARAMETERS)
def test_shape_parameters_and_gradients(name):
    connector = randomized(build(name))
    assert isinstance(connector, BaseConnector)
    feature = torch.randn(3, IN, 5, 4, requires_grad=True)
    out = connector(feature)
    assert out.shape == (3, OUT, 5, 4)
    assert sum(p.numel() for p in connector.parameters()) == PARAMETERS[name]
    out.square().sum().backward()
    assert all(g.abs().sum() > 0 for g in [feature.grad, *(p.grad for p in connector.parameters())])


@pytest.mark.parametrize('name', PARAMETERS)
def test_the_layer_stays_where_channels_agree(name):
    connector = build(name, OUT, OUT)
    assert sum(p.numel() for p in connector.parameters()) > 0
    assert connector(torch.randn(2, OUT, 4, 4)).shape == (2, OUT, 4, 4)


@pytest.mark.parametrize('name', PARAMETERS)
def test_gradients_are_derivatives(name):
    connector = randomized(build(name, 2, 3)).double()
    feature = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(connector, (feature, ))


@pytest.mark.parametrize('name', PARAMETERS)
def test_channels_last_features(name):
    connector = randomized(build(name))
    feature = torch.randn(2, IN, 5, 4)
    want = connector(feature)
    got = connector(feature.to(memory_format=torch.channels_last))
    assert torch.allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', PARAMETERS)
def test_autocast(name):
    connector = randomized(build(name))
    feature = torch.randn(2, IN, 4, 4, requires_grad=True)
    want = connector(feature).detach()
    for given in (feature, feature.bfloat16()):  # a backbone under AMP hands on either
        connector.zero_grad()
        with torch.autocast('cpu', torch.bfloat16):
            out = connector(given)
            loss = MODELS.build(dict(type='FeatureL2Loss'))(out, torch.zeros_like(out))
        loss.backward()
        assert ((out - want).norm() / want.norm()).item() < 0.03
        assert all(p.grad.isfinite().all() for p in connector.parameters())


@pytest.mark.parametrize('name', ['LinearConnector', 'MLPConnector'])
@pytest.mark.parametrize('shape', [(3, IN), (3, 7, IN)])
def test_vectors_and_tokens(name, shape):
    connector = randomized(build(name)).double()
    feature = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    weights = [p.detach() for p in connector.parameters()]
    want = feature.detach() @ weights[0][:, :, 0, 0].T + weights[1]
    if name == 'MLPConnector':
        want = want.clamp(min=0) @ weights[2][:, :, 0, 0].T + weights[3]
    torch.testing.assert_close(connector(feature).detach(), want, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(connector, (feature, ))


@pytest.mark.parametrize('name', ['Conv3x3Connector', 'DeformableConnector', 'NonLocalConnector'])
def test_tokens_are_no_map(name):
    with pytest.raises(ConfigError, match=f'{name}: expected a map.*MLPConnector'):
        build(name)(torch.randn(IN, 5, 4))  # a convolution would take it for one image


def test_identity():
    connector = build('IdentityConnector', 4, 4)
    feature = torch.randn(2, 4, 3, 3)
    assert connector(feature) is feature and not list(connector.parameters())
    with pytest.raises(ConfigError, match='IdentityConnector.* 4 .* 8') as error:
        build('IdentityConnector', 4, 8)
    assert '\n' not in str(error.value)


def matrix(conv):
    return conv.weight[:, :, 0, 0].tolist(), conv.bias.tolist()


def test_mlp_is_w2_relu_w1():
    connector = build('MLPConnector', 2, 3).double()
    convs = [m for m in connector.modules() if isinstance(m, torch.nn.Conv2d)]
    (w1, b1), (w2, b2) = map(matrix, convs)
    feature = torch.randn(2, 2, 2, 3, dtype=torch.float64)
    out = connector(feature)
    for n in range(2):
        for y in range(2):
            for x in range(3):
                pixel = feature[n, :, y, x].tolist()
                hidden = [max(0., sum(w * v for w, v in zip(row, pixel)) + b)
                          for row, b in zip(w1, b1)]
                want = [sum(w * v for w, v in zip(row, hidden)) + b for row, b in zip(w2, b2)]
                assert max(abs(a - b) for a, b in zip(out[n, :, y, x].tolist(), want)) < 1e-10


def test_mlp_wider_and_deeper():
    def widths(connector):
        return [(m.in_channels, m.out_channels) for m in connector.modules()
                if isinstance(m, torch.nn.Conv2d)]

    assert widths(build('MLPConnector', 4, 6)) == [(4, 6), (6, 6)]
    assert widths(build('MLPConnector', 4, 6, hidden_channels=12)) == [(4, 12), (12, 6)]
    assert widths(build('MLPConnector', 4, 6, num_hidden=2)) == [(4, 6), (6, 6), (6, 6)]
    with pytest.raises(ConfigError, match='num_hidden is a whole number from 1, found 0'):
        build('MLPConnector', 4, 6, num_hidden=0)


def test_conv3x3_has_a_relu_between():
    connector = build('Conv3x3Connector')
    first, second = (m for m in connector.modules() if isinstance(m, torch.nn.Conv2d))
    feature = torch.randn(2, IN, 5, 4)
    hidden = F.conv2d(feature, first.weight, first.bias, padding=1).relu()
    want = F.conv2d(hidden, second.weight, second.bias, padding=1)
    assert torch.allclose(connector(feature), want, atol=1e-5)


def test_deformable_without_offsets_is_a_convolution():
    connector = build('DeformableConnector')
    first, second = (m for m in connector.modules() if isinstance(m, DeformConv2dPack))
    feature = torch.randn(2, IN, 5, 4)
    hidden = F.conv2d(feature, first.weight, padding=1).relu()
    want = F.conv2d(hidden, second.weight, padding=1)
    assert torch.allclose(connector(feature), want, atol=1e-5)


@pytest.mark.parametrize('size', [(1, 1), (2, 2), (1, 5), (2, 3)])
def test_deformable_takes_maps_smaller_than_its_kernel(size):
    """Zeros around a map, which is what mmcv reads there, change nothing of what is in it."""
    layer = randomized(build('DeformableConnector')).conv1
    feature = torch.randn(2, IN, *size)
    offset = layer.conv_offset(feature)
    room = (0, 5, 0, 5)
    want = DeformConv2d.forward(layer, F.pad(feature, room), F.pad(offset, room))
    assert torch.allclose(layer(feature), want[:, :, :size[0], :size[1]], atol=1e-6)


@pytest.mark.parametrize('batch', [1, 33, 48])
def test_deformable_takes_any_batch(batch):
    assert build('DeformableConnector', 2, 2)(torch.randn(batch, 2, 3, 3)).shape[0] == batch


def test_non_local_sees_the_whole_map():
    connector = randomized(build('NonLocalConnector', 4, 4))
    feature = torch.randn(1, 4, 6, 6, requires_grad=True)
    connector(feature)[0, :, 0, 0].sum().backward()
    assert (feature.grad[0].abs().sum(0) > 0).all()
