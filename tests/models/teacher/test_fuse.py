"""BatchNorm is folded into the convolution that it follows in a run; the others stay."""
import mmpretrain.models  # noqa: F401
import mmseg.models  # noqa: F401
import pytest
import torch
from mmcv.cnn import ConvWS2d
from mmpretrain.registry import MODELS as MMPRETRAIN
from mmseg.registry import MODELS as MMSEG
from torch import nn

from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.teacher.fuse import fuse
from mmdistill_ext.models.utils.dry_run import tensors_of
from tests.small import build, model_config

# How many BatchNorm layers stay. In mmseg's two, one after a concatenation; DDRNet's pyramid and
# RepMLP's blocks begin with one; EfficientFormer registers fc1, fc2, norm1, norm2.
ZOO = {
    'CGNet': (MMSEG, dict(type='CGNet', num_channels=(8, 8, 8), num_blocks=(2, 2),
                          dilations=(1, 2), reductions=(2, 2),
                          norm_cfg=dict(type='BN', eps=1e-3)), 64, 7),
    'ERFNet': (MMSEG, dict(type='ERFNet', enc_downsample_channels=(8, 16, 32),
                           enc_stage_non_bottlenecks=(1, 2), enc_non_bottleneck_dilations=(2, 4),
                           enc_non_bottleneck_channels=(16, 32), dec_upsample_channels=(16, 8),
                           dec_stages_non_bottleneck=(1, 1), dec_non_bottleneck_channels=(16, 8)),
               64, 5),
    'DDRNet': (MMSEG, dict(type='DDRNet', channels=8, ppm_channels=8), 128, 11),
    'PIDNet': (MMSEG, dict(type='PIDNet', channels=8, ppm_channels=8, num_stem_blocks=2,
                           num_branch_blocks=2), 128, 8),
    'EfficientFormer': (MMPRETRAIN, dict(
        type='EfficientFormer', drop_path_rate=0., arch=dict(
            layers=[1, 1, 1, 1], embed_dims=[8, 8, 16, 16], downsamples=[False, True, True, True],
            vit_num=1)), 224, 0),
    'RepMLP': (MMPRETRAIN, dict(
        type='RepMLPNet', img_size=64, reparam_conv_kernels=(1, ), arch=dict(
            channels=[8, 16], depths=[1, 1], sharesets_nums=[1, 2]), out_indices=(1, )), 64, 7),
}


def norms_of(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def awake(model):
    """In evaluation mode and float64, with norm layers that do something."""
    torch.manual_seed(0)
    for norm in norms_of(model):
        for tensor in (*norm.parameters(), *norm.buffers()):
            if tensor.is_floating_point():
                tensor.data.uniform_(.5, 1.5)
    model.double().eval()  # which some of mmseg's answer with None
    return model.requires_grad_(False)


@pytest.mark.parametrize('name', ZOO)
def test_a_network_whose_layers_are_not_registered_in_the_order_they_run(name):
    registry, config, size, stay = ZOO[name]
    model = awake(registry.build(config))
    before = len(norms_of(model))
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)).double()
    expected = tensors_of(model(images))
    fuse(model, lambda: dict(out=tensors_of(model(images))))
    for got, value in zip(tensors_of(model(images)), expected):
        assert torch.dist(got, value) < 1e-9 * value.norm()  # exact but for rounding in float64
    assert len(norms_of(model)) == stay < before


class Net(nn.Module):

    def __init__(self, conv=nn.Conv2d, **fields):
        super().__init__()
        self.norm = nn.BatchNorm2d(4, **fields)
        self.conv = conv(3, 4, 1)
        self.other = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.norm(self.conv(x))


class OneForTwo(Net):

    def forward(self, x):
        return self.norm(self.conv(x)) + self.other(self.conv(x))


class TwoFromOne(Net):

    def forward(self, x):
        x = self.conv(x)
        return self.norm(x) + self.other(x)


class TwoForOne(Net):

    def forward(self, x):
        return self.norm(self.conv(x)) + self.norm(self.second(x))


class OverwrittenBetween(Net):

    def forward(self, x):
        return self.norm(self.conv(x).relu_())


class OverwrittenAfter(Net):

    def forward(self, x):
        return self.norm(self.conv(x)).relu_()


def fused(model):
    model = awake(model)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    expected = model(images)
    fuse(model, lambda: dict(out=[model(images)]))
    torch.testing.assert_close(model(images), expected)
    return isinstance(model.norm, nn.Identity)


@pytest.mark.parametrize('model, expected', [
    (Net(), True), (OverwrittenAfter(), True), (Net(affine=False), True),
    (Net(track_running_stats=False), False), (OneForTwo(), False), (TwoFromOne(), False),
    (TwoForOne(), False), (OverwrittenBetween(), False), (Net(ConvWS2d), False),
    (Net(lambda *args: nn.utils.parametrizations.spectral_norm(nn.Conv2d(*args))), False)])
def test_only_what_one_convolution_alone_feeds_is_fused(model, expected):
    assert fused(model) is expected


class UsedTwice(Net):

    def forward(self, x):
        x = self.conv(x)
        return self.norm(x) + x


def test_a_convolution_whose_output_is_used_elsewhere_is_noticed():
    with pytest.raises(ConfigError, match="changes what is read at 'out'.*besides a norm"):
        fused(UsedTwice())


def test_the_log_names_the_layers_that_stay(log):
    teacher = dict(model_config('seg'), backbone=dict(
        type='CGNet', num_channels=(8, 8, 8), num_blocks=(1, 1), dilations=(1, 2),
        reductions=(2, 2)))
    teacher['decode_head'].update(in_channels=16, in_index=2, pool_scales=(1, ))
    build(dict(type='LeanTeacherDistill', architecture=model_config('seg'), teacher=teacher,
               random_teacher=True, teacher_fuse_bn=True, distiller=dict(
                   type='LinkDistiller', links=dict(loss_feat=dict(
                       student='decode_head.conv_seg', teacher='decode_head.conv_seg',
                       loss='FeatureL2Loss')))))
    lines = [line for line in log.messages if 'teacher_fuse_bn' in line]
    assert len(lines) == 1 and '7 norm layers of the teacher are fused; 5 stay, because' in lines[0]
    assert lines[0].endswith('backbone.norm_prelu_0.0, backbone.level1.0.bn, '
                             'backbone.norm_prelu_1.0, backbone.level2.0.bn, '
                             'backbone.norm_prelu_2.0')
