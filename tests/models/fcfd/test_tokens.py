"""FCFD between plain transformers: features are tokens, the class token among them."""
import pytest
import torch
from mmpretrain.structures import DataSample
from torch import nn

from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.fcfd import FCFDBridge

from .reference import CLASSES, LABELS, build, kl, task

HEADS, PATCH = 2, 8


def vit(width, layers, **backbone):
    return dict(
        _scope_='mmpretrain', type='ImageClassifier',
        backbone=dict(
            type='VisionTransformer', img_size=16, patch_size=PATCH,
            arch=dict(embed_dims=width, num_layers=layers, num_heads=HEADS,
                      feedforward_channels=2 * width), **backbone),
        head=dict(type='VisionTransformerClsHead', num_classes=CLASSES, in_channels=width))


STUDENT, TEACHER = vit(8, 4), vit(12, 8)  # four stages of one layer, and of two


def data(size=16):
    images = torch.randn(len(LABELS), 3, size, size, dtype=torch.double,
                         generator=torch.Generator().manual_seed(0))
    return images, [DataSample().set_gt_label(label) for label in LABELS]


# ---- the equations, token by token where it matters

def linear(x, layer):
    return x @ layer.weight.T + layer.bias


def layer_norm(x, layer):
    mean = x.mean(-1, keepdim=True)
    var = ((x - mean)**2).mean(-1, keepdim=True)
    return (x - mean) / (var + layer.eps).sqrt() * layer.weight + layer.bias


def attention(x, module):
    """Each head of each sample: softmax(q k^T / sqrt(d)) v."""
    width = x.shape[2]
    depth = width // HEADS
    q, k, v = linear(x, module.qkv).split(width, dim=2)
    samples = []
    for n in range(len(x)):
        heads = []
        for h in range(HEADS):
            own = slice(h * depth, (h + 1) * depth)
            scores = (q[n, :, own] @ k[n, :, own].T / depth**0.5).exp()
            heads.append(scores / scores.sum(1, keepdim=True) @ v[n, :, own])
        samples.append(torch.cat(heads, 1))
    return linear(torch.stack(samples), module.proj)


def block(x, layer):
    x = x + attention(layer_norm(x, layer.ln1), layer.attn)
    hidden = linear(layer_norm(x, layer.ln2), layer.ffn.layers[0][0])
    hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2  # GELU
    return x + linear(hidden, layer.ffn.layers[1])


def embed(net, images):
    """Patches, the class token before them, positions added."""
    backbone = net.backbone
    conv = backbone.patch_embed.projection
    rows = []
    for top in range(0, images.shape[2], PATCH):
        for left in range(0, images.shape[3], PATCH):
            patch = images[:, :, top:top + PATCH, left:left + PATCH].flatten(1)
            rows.append(patch @ conv.weight.flatten(1).T + conv.bias)
    tokens = torch.stack(rows, 1)
    first = backbone.cls_token.expand(len(images), 1, -1)
    return torch.cat([first, tokens], 1) + backbone.pos_embed


def stage(net, k, x):
    """M_k, k from 1: a quarter of the layers."""
    count = len(net.backbone.layers) // 4
    for layer in net.backbone.layers[(k - 1) * count:k * count]:
        x = block(x, layer)
    return x


def classify(net, x):
    return linear(layer_norm(x, net.backbone.ln1)[:, 0], net.head.layers.head)


def cross(bridge, x):
    """A linear map of each token, and BatchNorm over all tokens of the batch."""
    assert bridge.conv.weight.shape[2:] == (1, 1) and bridge.conv.bias is None
    x = x @ bridge.conv.weight[:, :, 0, 0].T
    mean = x.mean((0, 1))
    var = ((x - mean)**2).mean((0, 1))
    return (x - mean) / (var + bridge.bn.eps).sqrt() * bridge.bn.weight + bridge.bn.bias


def mse(x, y):
    return sum(((a - b)**2).sum() for a, b in zip(x, y)) / x.numel()


def pool(x):
    return x.clamp(min=0).sum(1) / x.shape[1]


def reference(algorithm, images):
    """Every term by name, of all paths."""
    student, teacher, bridges = algorithm.student, algorithm.teacher, algorithm.bridges
    f_s, f_t = {}, {}
    x, y = embed(student, images), embed(teacher, images)
    for k in range(1, 5):
        f_s[k] = x = stage(student, k, x)
        f_t[k] = y = stage(teacher, k, y).detach()
    p_s, p_t = classify(student, x), classify(teacher, y).detach()
    bridged = {k: cross(bridges[f's2t_{k}'], f_s[k]) for k in f_s}
    terms = {'student.loss': task(p_s), 'fcfd.loss_kd': kl(p_s, p_t, 1)}
    for k in range(1, 5):
        terms[f'fcfd.loss_app_{k}'] = mse(bridged[k], f_t[k])
    terms['fcfd.loss_app_pooled'] = mse(pool(bridged[4]), pool(f_t[4]))
    for k in (1, 2, 3):
        x, l2 = bridged[k], 0
        for later in range(k + 1, 5):
            x = stage(teacher, later, x)
            l2 = l2 + mse(x, f_t[later])
        terms[f'fcfd.loss_s2t_{k}_l2'] = l2 + mse(pool(x), pool(f_t[4]))
        terms[f'fcfd.loss_s2t_{k}_kl'] = kl(classify(teacher, x), p_t, 1)
        x = cross(bridges[f't2s_{k}'], f_t[k])
        for later in range(k + 1, 5):
            x = stage(student, later, x)
        terms[f'fcfd.loss_t2s_{k}_kl'] = kl(classify(student, x), p_t, 1)
    return terms


def test_terms_and_gradients():
    algorithm = build(STUDENT, TEACHER, paths=dict(num='all'))
    with torch.no_grad():  # mmpretrain starts both at zero
        for net in (algorithm.student, algorithm.teacher):
            net.backbone.cls_token.normal_()
            net.head.layers.head.weight.normal_()
    images, samples = data()
    losses = algorithm(images, samples, mode='loss')
    expected = reference(algorithm, images)
    assert sorted(losses) == sorted(expected)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-9, atol=1e-12, msg=name)
        assert value > 0
    parameters = {n: p for n, p in algorithm.named_parameters() if p.requires_grad}
    mine, theirs = (
        torch.autograd.grad(sum(terms.values()), list(parameters.values()), allow_unused=True)
        for terms in (losses, expected))
    for name, a, b in zip(parameters, mine, theirs):
        assert (a is None) == (b is None), name
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-12, msg=name)


def test_a_teacher_in_channels_last_takes_tokens():
    images, samples = data()
    losses = [build(STUDENT, TEACHER, paths=dict(num='all'), teacher_channels_last=asked)(
        images, samples, mode='loss') for asked in (True, False)]
    for name, value in losses[0].items():
        torch.testing.assert_close(value, losses[1][name], msg=name)


@pytest.mark.parametrize('k, direction', [(k, d) for k in (1, 2, 3) for d in ('s2t', 't2s')])
def test_which_layers_a_path_trains(k, direction):
    algorithm = build(STUDENT, TEACHER, paths=dict(num='all'))
    losses = algorithm(*data(), mode='loss')
    sum(v for name, v in losses.items() if f'{direction}_{k}' in name).backward()
    layers = algorithm.student.backbone.layers
    trained = [index for index, layer in enumerate(layers)
               if layer.attn.qkv.weight.grad is not None]
    assert trained == [index for index in range(4) if (index < k) == (direction == 's2t')]
    reached = algorithm.student.backbone.cls_token.grad
    assert (reached is not None and bool(reached.any())) == (direction == 's2t')
    assert all(parameter.grad is None for parameter in algorithm.teacher.parameters())


def test_a_bridge_of_tokens():
    torch.manual_seed(0)
    bridge = FCFDBridge(4, 6, tokens=True, post_relu=True).double()
    x = torch.randn(3, 5, 4, dtype=torch.double)
    y = cross(bridge, x)
    torch.testing.assert_close(bridge(x), torch.where(y > 0, y, y / 10), rtol=1e-10, atol=1e-12)
    assert isinstance(bridge.act, nn.LeakyReLU)
    with pytest.raises(ConfigError, match='scale is 2; tokens keep their number'):
        FCFDBridge(4, 6, scale=2, tokens=True)


RESNET = dict(_scope_='mmpretrain', type='ImageClassifier',
              backbone=dict(type='ResNet', depth=18, base_channels=4, stem_channels=4),
              neck=dict(type='GlobalAveragePooling'),
              head=dict(type='LinearClsHead', num_classes=CLASSES, in_channels=32))


@pytest.mark.parametrize('teacher, found', [
    (RESNET, r'\[65, 8\] to backbone.layer1 \[4, 16, 16\]'),
    (vit(12, 8, with_cls_token=False, out_type='avg_featmap'),
     r'\[65, 8\] to backbone.layers.1 \[64, 12\]')])
def test_what_tokens_do_not_become(teacher, found):
    with pytest.raises(ConfigError, match=f'no bridge from .*{found}.*both give maps, or as many'):
        build(STUDENT, teacher)
