"""Which image a network is tried on."""
import mmpretrain.models  # noqa: F401
import pytest
import torch
from mmpretrain.registry import MODELS

from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.utils.dry_run import channels_of, dry_run, sizes_of, untouched
from tests.small import build, model_config

CLASSES = dict(head=dict(type='LinearClsHead', num_classes=3, in_channels=16))
GREY = dict(type='ClsDataPreprocessor', mean=[33.], std=[79.])


@pytest.mark.parametrize('pixels', [160, (160, 160)])
def test_a_transformer_that_takes_images_of_one_size_is_tried_on_those(pixels):
    torch.manual_seed(0)
    model = MODELS.build(dict(
        type='ImageClassifier', head=dict(type='LinearClsHead', num_classes=3, in_channels=16),
        neck=dict(type='GlobalAveragePooling', dim=1),
        backbone=dict(type='MlpMixer', img_size=pixels, patch_size=16, arch=dict(
            embed_dims=16, num_layers=1, tokens_mlp_dims=8, channels_mlp_dims=8))))
    assert sizes_of(model) == [128, 160, 224, 256, 384, 64, 32]
    assert sizes_of(model, 200) == [200, 224, 256, 384, 160, 128, 64, 32]
    outputs = dry_run(model, ['backbone'], 'a test')
    assert outputs.size == 160 and outputs['backbone'][0][-1].shape == (2, 16, 100)


def yolox():
    config = model_config('det')
    config.update(backbone=dict(type='CSPDarknet', widen_factor=.125, deepen_factor=.33),
                  neck=dict(type='YOLOXPAFPN', in_channels=[32, 64, 128], out_channels=16,
                            num_csp_blocks=1))
    config['data_preprocessor'] = dict(type='DetDataPreprocessor', pad_size_divisor=32)
    return config


def classifier(backbone, **fields):
    return dict(_scope_='mmpretrain', type='ImageClassifier', backbone=backbone, **fields)


GREY_RESNET = dict(model_config('cls')['backbone'], in_channels=1)
SWIN = classifier(dict(
    type='SwinTransformerV2', img_size=448, window_size=[28, 28, 28, 14], arch=dict(
        embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], extra_norm_every_n_blocks=0)),
    neck=dict(type='GlobalAveragePooling'), head=dict(type='LinearClsHead', num_classes=3,
                                                      in_channels=64))


@pytest.mark.parametrize('config, channels, size, pixels', [
    # The weight of Focus takes four slices of an image.
    (yolox(), [3, 12], 128, 3),
    # Its first 4-D parameter is a table of positions.
    (classifier(dict(type='TNT', arch=dict(
        embed_dims_outer=16, embed_dims_inner=8, num_layers=1, num_heads_outer=2,
        num_heads_inner=2), img_size=64, in_channels=3), **CLASSES), [3, 8], 64, 3),
    (classifier(dict(type='LeNet5', num_classes=3), head=dict(type='ClsHead')), [3, 1], 32, 1),
    (classifier(GREY_RESNET, data_preprocessor=GREY), [1, 3], 128, 1),
    (classifier(GREY_RESNET), [3, 1], 128, 1),
    (SWIN, [3], 448, 3)])
def test_images_have_the_channels_and_the_size_that_a_network_takes(
        config, channels, size, pixels):
    torch.manual_seed(0)
    model, seen = build(config), []
    assert channels_of(model) == channels
    model.backbone.register_forward_hook(lambda _, args, __: seen.append(args[0].shape))
    outputs = dry_run(model, ['backbone'], 'a test')
    assert outputs.size == size and list(seen[-1]) == [2, pixels, size, size]


def test_the_line_of_a_network_that_takes_none_of_them():
    model = build(classifier(dict(GREY_RESNET, in_channels=5, style='pytorch')))
    model.backbone.layer1.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ConfigError, match='does not run on images of 128, 224, 256, 384, 64, 32 '
                                          'pixels: with 3 channels Given groups=1.*; '
                                          'with 5 channels division by zero'):
        dry_run(model, ['backbone'], 'a test')


@pytest.mark.parametrize('student, teacher', [(32, 128), (128, 32)])
def test_both_networks_of_a_link_run_on_images_of_one_size(student, teacher):
    """LeNet takes 32 pixels only."""
    def network(size):
        backbone = dict(type='LeNet5', num_classes=3) if size == 32 else GREY_RESNET
        return classifier(backbone, data_preprocessor=GREY)

    place = {32: 'backbone.features.6', 128: 'backbone.layer4'}  # one pixel of 32
    model = build(dict(
        type='LeanTeacherDistill', architecture=network(student), teacher=network(teacher),
        random_teacher=True, distiller=dict(type='LinkDistiller', links=dict(loss_feat=dict(
            student=place[student], teacher=place[teacher], connector='LinearConnector',
            loss='FeatureL2Loss')))))
    for places in model.distiller.expected['loss_feat'].values():
        assert places[0].calls[0][0].side == 1


class Restless(torch.nn.Module):
    """Resizes one buffer, writes into another and adds a third, in evaluation mode too."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.register_buffer('table', torch.zeros(4))
        self.register_buffer('count', torch.zeros(()))
        self.register_buffer('nothing', None)

    def forward(self, x):
        self.table = torch.zeros(x.shape[-1])
        self.count += 1
        self.register_buffer('more', torch.ones(2))
        return x * self.weight


def test_buffers_are_as_before():
    model = Restless()
    table, count = model.table, model.count
    with untouched(model):
        model(torch.ones(1, 7))
        assert model.table.shape == (7, ) and model.count == 1
    assert model.table is table and model.count is count and model.count == 0
    assert list(model._buffers) == ['table', 'count', 'nothing'] and model.nothing is None
