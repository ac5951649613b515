"""Links on vectors, tokens and maps of real models."""
import copy

import pytest
import torch
from torch import nn

from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.distillers.layouts import Layout, Steps, match
from tests.small import build, model_config

SIZE = 128  # of the images, as in the dry run: MLP-Mixer takes no other than its own


def classifier(backbone, channels, neck=None):
    return dict(
        model_config('cls'), neck=neck, backbone=backbone,
        head=dict(type='LinearClsHead', num_classes=5, in_channels=channels,
                  loss=dict(type='CrossEntropyLoss')))


def vit(kind='VisionTransformer', width=16, out_type='raw', patch=16, **fields):
    """A transformer whose backbone returns what ``out_type`` says; the head reads a vector."""
    backbone = dict(
        type=kind, img_size=64, patch_size=patch, out_type=out_type, arch=dict(
            embed_dims=width, num_layers=2, num_heads=2, feedforward_channels=16), **fields)
    neck = dict(type='GlobalAveragePooling', dim=1 if out_type == 'raw' else 2)
    if out_type == 'raw':
        return classifier(backbone, width, _Mean)
    return classifier(backbone, width, neck if out_type == 'featmap' else None)


class _Mean(nn.Module):
    """The mean of the tokens."""

    def forward(self, features):
        return tuple(feature.mean(1) for feature in features)


def mixer(width=20):
    return classifier(
        dict(type='MlpMixer', img_size=SIZE, patch_size=16, arch=dict(
            embed_dims=width, num_layers=1, tokens_mlp_dims=8, channels_mlp_dims=8)),
        width, dict(type='GlobalAveragePooling', dim=1))


def swin():
    return classifier(
        dict(type='SwinTransformer', img_size=SIZE, window_size=2, arch=dict(
            embed_dims=4, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1])),
        32, dict(type='GlobalAveragePooling'))


def conv(width=8):
    return model_config('cls', width)


def network(config):
    config = copy.deepcopy(config)
    if config['neck'] is _Mean:
        model = build(dict(config, neck=None))
        model.neck = _Mean()
        return model
    return build(config)


def algorithm(student, teacher, /, **link):
    torch.manual_seed(0)
    link = dict(dict(student='backbone', teacher='backbone', connector='MLPConnector',
                     loss='FeatureL2Loss'), **link)
    return build(dict(
        type='LeanTeacherDistill', architecture=network(student), teacher=network(teacher),
        distiller=dict(type='LinkDistiller', links=dict(loss_feat=link))))


def step(model, height=SIZE, width=SIZE, places=('backbone', 'backbone')):
    """The logged loss of one training step, and what both places returned in it."""
    found = {}
    for side, place in zip(('student', 'teacher'), places):
        getattr(model, side).get_submodule(place).register_forward_hook(
            lambda _, __, output, side=side: found.update({
                side: output if isinstance(output, torch.Tensor) else output[0]}), prepend=True)
    torch.manual_seed(1)
    inputs = [torch.randint(0, 255, (3, height, width), dtype=torch.uint8) for _ in range(2)]
    from mmpretrain.structures import DataSample
    samples = [DataSample().set_gt_label(label) for label in (1, 3)]
    data = model.data_preprocessor(dict(inputs=inputs, data_samples=samples), True)
    losses = model.train()(**data, mode='loss')
    return losses['distill.loss_feat'], found['student'], found['teacher']


def by_hand(connector, student, teacher):
    """``sum((W2 relu(W1 F_s) - F_t)^2) / N`` of ``[N, positions, channels]``, in float64."""
    w1, b1, w2, b2 = (p.detach().double() for p in connector.parameters())
    total = 0.
    for rows, targets in zip(student.detach().double(), teacher.detach().double()):
        assert len(rows) == len(targets)
        for row, target in zip(rows, targets):
            hidden = (w1[:, :, 0, 0] @ row + b1).clamp(min=0)
            total = total + ((w2[:, :, 0, 0] @ hidden + b2 - target) ** 2).sum()
    return total / len(student)


def positions(feature):
    """``[N, C, H, W]`` -> ``[N, H * W, C]``, row by row."""
    return torch.stack([feature[:, :, y, x] for y in range(feature.shape[2])
                        for x in range(feature.shape[3])], 1)


def check(model, own, theirs, **kwargs):
    loss, student, teacher = step(model, **kwargs)
    expected = by_hand(model.distiller.connectors['loss_feat_0'], own(student), theirs(teacher))
    torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=0)
    loss.backward()
    reached = [p.grad for p in model.student.backbone.parameters() if p.grad is not None]
    assert any(grad.abs().sum() > 0 for grad in reached)
    assert all(p.grad.abs().sum() > 0 for p in model.distiller.connectors.parameters())


def everything(tokens):
    return tokens


DEIT = vit('DistilledVisionTransformer', 24, 'featmap')


@pytest.mark.parametrize('student, teacher, fields, own, theirs', [
    (vit(), vit(width=24), {}, everything, everything),  # both have a class token: it is compared
    (vit(with_cls_token=False), vit(width=24), {}, everything, lambda t: t[:, 1:]),
    (vit(), vit(width=24, with_cls_token=False), {}, lambda s: s[:, 1:], everything),
    (vit(), DEIT, dict(student='backbone.layers.0', teacher='backbone.layers.1'),
     lambda s: s[:, 1:], lambda t: t[:, 2:]),  # DeiT has a distillation token, too
    (vit(), mixer(), {}, lambda s: s[:, 1:], lambda t: t.transpose(1, 2)),
    (mixer(12), mixer(), dict(student='backbone.layers.0'), everything,
     lambda t: t.transpose(1, 2)),
    (vit(), vit(width=24, out_type='featmap'), {}, lambda s: s[:, 1:], positions),
    (conv(), vit(width=24), dict(student='backbone.layer3'), positions, lambda t: t[:, 1:]),
    (conv(), mixer(), dict(student='backbone.layer3'), positions, lambda t: t.transpose(1, 2)),
    (conv(), swin(), dict(student='backbone.layer3', teacher='backbone.stages.2'), positions,
     everything),  # a stage returns (tokens, (height, width))
    (conv(), swin(), dict(student='backbone.layer3', teacher='backbone.stages.2.blocks.0'),
     positions, everything),
    (conv(), swin(), {}, positions, positions),
    (vit(out_type='cls_token'), vit(width=24, out_type='cls_token'), {},
     lambda s: s[:, None], lambda t: t[:, None]),
    (conv(), vit(width=24, out_type='avg_featmap'), dict(student='neck'),
     lambda s: s[:, None], lambda t: t[:, None]),
], ids=['vit-vit', 'no class token-vit', 'vit-no class token', 'vit-deit', 'vit-mixer',
        'mixer block-mixer', 'vit-map', 'conv-vit', 'conv-mixer', 'conv-swin stage',
        'conv-swin block', 'conv-swin', 'class tokens', 'vectors'])
def test_the_loss_is_the_equation(student, teacher, fields, own, theirs):
    model = algorithm(student, teacher, **fields)
    check(model, own, theirs,
          places=[fields.get(side, 'backbone') for side in ('student', 'teacher')])


@pytest.mark.parametrize('student, teacher, own, theirs', [
    (conv(), vit(width=24), positions, lambda t: t[:, 1:]),
    (vit(), vit(width=24, out_type='featmap'), lambda s: s[:, 1:], positions)],
    ids=['conv-vit', 'vit-map'])
def test_images_that_are_not_square(student, teacher, own, theirs):
    place = 'backbone.layer3' if student == conv() else 'backbone'
    check(algorithm(student, teacher, student=place), own, theirs, height=32, width=96,
          places=(place, 'backbone'))


def test_a_grid_that_does_not_follow_from_the_map_is_refused():
    model = algorithm(conv(), vit(width=24), student='backbone.layer4', resize=True)
    with pytest.raises(ConfigError, match='12 tokens are no grid of 4 x 4'):
        step(model, height=40, width=64)  # 2 x 2 pixels of stride 32, 3 x 4 patches


def test_tokens_become_a_map_and_are_resized_to_the_teachers():
    model = algorithm(vit(), conv(), teacher='backbone.layer4', resize=True)

    def resized(tokens):
        """Eight by eight patches to the four by four of stride 32: the mean of each two by two."""
        grid = tokens[:, 1:].reshape(len(tokens), 8, 8, -1)
        return torch.stack([grid[:, y:y + 2, x:x + 2].mean((1, 2))
                            for y in range(0, 8, 2) for x in range(0, 8, 2)], 1)

    check(model, resized, positions, places=('backbone', 'backbone.layer4'))


@pytest.mark.parametrize('student, teacher, fields, parts', [
    (conv(), vit(out_type='cls_token'), {}, ['vector [N, C]', 'map [N, C, H, W]', 'same kind']),
    (vit(), vit(out_type='cls_token'), {}, ['tokens [N, L, C]', 'vector [N, C]']),
    (vit(), conv(), {}, ['differ in height or width', 'resize=True']),
    (vit(), vit(patch=32), {}, ['65 and 17 tokens']),
    (vit(), vit(), dict(connector=None, loss='ATLoss'), ['tokens', 'ATLoss', 'FeatureL2Loss']),
    (vit(), vit(), dict(connector=None, loss='KLDivergence'), ['tokens', 'KLDivergence']),
    (vit(), vit(), dict(connector='Conv3x3Connector'), ['Conv3x3Connector', 'MLPConnector']),
    (vit(), vit(width=24), dict(connector=None), ['a connector changes channels']),
    (conv(), vit(), dict(student='backbone.layer3', connector=dict(
        type='MLPConnector', out_channels=65)), ['out_channels=65', '16 channels']),
    (vit(out_type='cls_token'), vit(out_type='cls_token'), dict(
        connector=None, loss='ChannelWiseDivergence'), ['accept a vector [N, C]']),
    (mixer(64), mixer(), {}, ['64 channels and 64 tokens'])])
def test_what_cannot_be_linked_is_refused(student, teacher, fields, parts):
    with pytest.raises(ConfigError) as error:
        algorithm(student, teacher, **fields)
    message = str(error.value)
    assert "'loss_feat'" in message and '\n' not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize('loss', ['L1Loss', 'L2Loss', 'FeatureMSELoss', 'DistanceWiseRKD'])
def test_losses_that_take_tokens(loss):
    model = algorithm(vit(), vit(), connector=None, loss=loss)
    assert step(model)[0].isfinite()


def test_tokens_without_a_known_grid_do_not_become_a_map():
    """100 queries of a transformer decoder are not ten by ten pixels."""
    with pytest.raises(ConfigError, match="student's patch grid is not known.*featmap"):
        match(Layout(3, 16), Layout(4, 24, side=10))
    assert match(Layout(3, 16), Layout(3, 24)) == (Steps(), Steps())


@pytest.mark.parametrize('kind, height, width', [
    ('class token', SIZE, SIZE), ('class token', 32, 96), ('beside a map', SIZE, SIZE),
    ('beside a map', 32, 96), ('channels first', SIZE, SIZE)])
def test_tf_fd_takes_tokens_as_maps(kind, height, width):
    """And gives what it gives on the maps that are written out here."""
    config, places = {
        'class token': (vit(), ['backbone.layers.0', 'backbone.layers.1']),
        'channels first': (mixer(), ['backbone']),
        'beside a map': (vit(patch=32), ['backbone.patch_embed.projection', 'backbone.layers.1']),
    }[kind]
    links = {name: dict(student=places, loss=dict(type=loss, form='paper'))
             for name, loss in dict(loss_intra='TfFDIntraLoss', loss_inter='TfFDInterLoss').items()
             if len(places) > 1 or loss == 'TfFDIntraLoss'}
    torch.manual_seed(0)
    model = build(dict(
        type='TeacherFreeDistill', architecture=network(config),
        distiller=dict(type='LinkDistiller', links=links)))
    model.train()
    seen = {}
    for place in places:
        model.student.get_submodule(place).register_forward_hook(
            lambda _, __, output, place=place: seen.setdefault(place, output))
    images = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    from mmpretrain.structures import DataSample
    losses = model.loss(images, [DataSample().set_gt_label(n) for n in range(2)])
    patch = 32 if kind == 'beside a map' else 16
    rows, columns = height // patch, width // patch
    maps = []
    for place in places:
        feature = seen[place][0] if isinstance(seen[place], tuple) else seen[place]
        if feature.ndim == 4:
            maps.append(feature)
            continue
        tokens = feature.transpose(1, 2) if kind == 'channels first' else feature[:, 1:]
        written = torch.empty(len(tokens), tokens.shape[2], rows, columns)
        for y in range(rows):
            for x in range(columns):
                written[:, :, y, x] = tokens[:, y * columns + x]
        maps.append(written)
    for name, link in links.items():
        expected = build(dict(link['loss']))(maps)
        assert losses[f'distill.{name}'].item() == pytest.approx(expected.item(), rel=1e-5)
        assert expected > 0
    sum(losses[f'distill.{name}'] for name in links).backward()
    assert any(p.grad is not None and p.grad.any() for p in model.student.backbone.parameters())
