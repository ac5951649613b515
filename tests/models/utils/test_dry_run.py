"""Which image a network is tried on."""
import mmdet.models  # noqa: F401
import mmpretrain.models  # noqa: F401
import pytest
import torch
from mmdet.registry import MODELS as DETECTORS
from mmpretrain.registry import MODELS

from mmdistill_ext.models.utils.dry_run import dry_run, sizes_of, untouched


@pytest.mark.parametrize('pixels', [160, (160, 160)])
def test_a_transformer_that_takes_images_of_one_size_is_tried_on_those(pixels):
    torch.manual_seed(0)
    model = MODELS.build(dict(
        type='ImageClassifier', head=dict(type='LinearClsHead', num_classes=3, in_channels=16),
        neck=dict(type='GlobalAveragePooling', dim=1),
        backbone=dict(type='MlpMixer', img_size=pixels, patch_size=16, arch=dict(
            embed_dims=16, num_layers=1, tokens_mlp_dims=8, channels_mlp_dims=8))))
    assert sizes_of(model, 128) == [128, 160, 224, 256, 384]
    assert sizes_of(model, 200) == [200, 224, 256, 384]
    outputs = dry_run(model, ['backbone'], 'a test')
    assert outputs.size == 160 and outputs['backbone'][0][-1].shape == (2, 16, 100)


def test_a_network_that_puts_four_pixels_side_by_side_is_tried_on_three_channels():
    torch.manual_seed(0)
    model = DETECTORS.build(dict(
        type='YOLOX', backbone=dict(type='CSPDarknet', deepen_factor=.1, widen_factor=.125),
        neck=dict(type='YOLOXPAFPN', in_channels=[32, 64, 128], out_channels=8, num_csp_blocks=1),
        bbox_head=dict(type='YOLOXHead', num_classes=2, in_channels=8, feat_channels=8)))
    outputs = dry_run(model, ['neck'], 'a test')
    assert [x.shape for x in outputs['neck'][0]] == [
        (2, 8, size, size) for size in (16, 8, 4)]


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
