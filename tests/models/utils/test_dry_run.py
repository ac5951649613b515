"""Which image a network is tried on."""
import mmpretrain.models  # noqa: F401
import pytest
import torch
from mmpretrain.registry import MODELS

from mmdistill_ext.models.utils.dry_run import dry_run, sizes_of


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
