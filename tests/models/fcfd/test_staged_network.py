"""Cutting networks into stages: what is run in a row is the network, bit for bit."""
import copy

import mmpretrain.models  # noqa: F401
import pytest
import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS as ROOT
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn
from torch.nn import functional as F

import mmdistill_ext  # noqa: F401
from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.fcfd.staged_network import StagedNetwork

LAYERS = [f'backbone.layer{k}' for k in (1, 2, 3, 4)]
STAGES = [f'backbone.stages.{k}' for k in range(4)]
SHUFFLE = [f'backbone.layers.{k}' for k in range(3)]
POOLS = [f'backbone.features.{k}' for k in (3, 6, 9, 12)]
SWIN = dict(type='SwinTransformer', window_size=2, drop_path_rate=0.3,
            arch=dict(embed_dims=12, depths=[1, 1, 2, 1], num_heads=[1, 2, 2, 2]))
CONVNEXT = dict(type='ConvNeXt', arch=dict(depths=[1, 1, 1, 1], channels=[8, 12, 16, 20]),
                drop_path_rate=0.3)
VIT = dict(type='VisionTransformer', img_size=32, patch_size=8, drop_rate=0.1, drop_path_rate=0.3,
           arch=dict(embed_dims=12, num_layers=6, num_heads=2, feedforward_channels=24))
BLOCKS = [f'backbone.layers.{k}' for k in (0, 2, 3, 5)]  # four parts of six
LARGER = ('swin', 'swin_v2', 'mlp_mixer')  # than 32 pixels
WITHOUT_NECK = ('convnext', 'vit', 'vit_without_class_token', 'eva02')
NETWORKS = {  # name: (backbone, its channels, the stages that it is cut into by default)
    'resnet': (dict(type='ResNet', depth=18, base_channels=8, stem_channels=8), 64, LAYERS),
    'resnet_v1d': (dict(type='ResNetV1d', depth=18, base_channels=8, stem_channels=8), 64, LAYERS),
    'resnext': (dict(type='ResNeXt', depth=50, groups=4, width_per_group=4, base_channels=16), 512,
                LAYERS),
    'seresnet': (dict(type='SEResNet', depth=50, base_channels=8, stem_channels=8, se_ratio=4),
                 256, LAYERS),
    'resnet_cifar': (dict(type='ResNet_CIFAR', depth=18, base_channels=8, stem_channels=8), 64,
                     LAYERS),
    'regnet': (dict(type='RegNet', arch='regnetx_400mf'), 384, LAYERS),
    'mobilenet_v1': (dict(type='MobileNetV1'), 1024, LAYERS),
    'mobilenet_v2': (dict(type='MobileNetV2', widen_factor=0.25), 1280,
                     [f'backbone.layer{k}' for k in (2, 3, 5, 7)]),
    'mobilenet_v3': (dict(type='MobileNetV3', arch='small'), 576,
                     [f'backbone.layer{k}' for k in (1, 3, 8, 11)]),
    'shufflenet_v1': (dict(type='ShuffleNetV1'), 960, SHUFFLE),
    'shufflenet_v2': (dict(type='ShuffleNetV2', widen_factor=0.5), 1024, SHUFFLE),
    'vgg': (dict(type='VGG', depth=11), 512, POOLS),
    'convnext': (CONVNEXT, 20, STAGES),
    'convnext_norm_first': (dict(CONVNEXT, gap_before_final_norm=False), 20, STAGES),
    'swin': (SWIN, 96, STAGES),
    'mobileone': (dict(type='MobileOne', arch=dict(
        num_blocks=[1, 2, 1, 1], width_factor=[.125, .125, .125, .0625], num_conv_branches=[1] * 4,
        num_se_blocks=[0] * 4)), 32, [f'backbone.stage{k}' for k in (1, 2, 3, 4)]),
    'repvgg': (dict(type='RepVGG', arch=dict(
        num_blocks=[1, 2, 1, 1], width_factor=[.125, .125, .125, .125], group_layer_map=None,
        se_cfg=None), add_ppf=False), 64, [f'backbone.stage_{k}' for k in (1, 2, 3, 4)]),
    'poolformer': (dict(type='PoolFormer', arch=dict(
        layers=[1, 1, 2, 1], embed_dims=[8, 12, 16, 20], mlp_ratios=[2] * 4,
        layer_scale_init_value=1e-5)), 20, [f'backbone.network.{k}' for k in (0, 2, 4, 6)]),
    'convmixer': (dict(type='ConvMixer', arch=dict(
        embed_dims=12, depth=6, patch_size=4, kernel_size=3)), 12,
        [f'backbone.stages.{k}' for k in (0, 2, 3, 5)]),
    'mobilevit': (dict(type='MobileViT', arch='xx_small'), 320,
                  [f'backbone.layers.{k}' for k in (1, 2, 3, 4)]),
    'van': (dict(type='VAN', arch=dict(embed_dims=[8, 8, 16, 16], depths=[1, 2, 1, 1],
                                       ffn_ratios=[2] * 4)), 16,
            ['backbone.blocks1.0', 'backbone.blocks2.1', 'backbone.blocks3.0',
             'backbone.blocks4.0']),
    'swin_v2': (dict(type='SwinTransformerV2', img_size=64, window_size=2, drop_path_rate=0.3,
                     arch=dict(embed_dims=12, depths=[1, 1, 2, 1], num_heads=[1, 2, 2, 2],
                               extra_norm_every_n_blocks=0)), 96, STAGES),
    'twins': (dict(type='SVT', arch=dict(
        embed_dims=[8, 8, 16, 16], num_heads=[1, 1, 2, 2], mlp_ratios=[2] * 4,
        depths=[1, 1, 2, 1], sr_ratios=[4, 2, 1, 1], window_sizes=[7] * 4,
        patch_sizes=[4, 2, 2, 2], strides=[4, 2, 2, 2])), 16,
        [f'backbone.stages.{k}' for k in ('0.0', '1.0', '2.1', '3.0')]),
    'vit': (VIT, 12, BLOCKS),
    'vit_without_class_token': (
        dict(VIT, with_cls_token=False, out_type='avg_featmap', final_norm=False), 12, BLOCKS),
    'eva02': (dict(type='ViTEVA02', img_size=32, patch_size=8, sub_ln=True, arch=dict(
        embed_dims=16, num_layers=6, num_heads=2, feedforward_channels=24)), 16, BLOCKS),
    'mlp_mixer': (dict(type='MlpMixer', img_size=64, patch_size=8, arch=dict(
        embed_dims=12, num_layers=6, tokens_mlp_dims=8, channels_mlp_dims=8)), 12, BLOCKS),
    'cifar_resnet': (dict(type='CIFARResNet', depth=20), 64, LAYERS[:3]),
    'cifar_wide_resnet': (dict(type='CIFARWideResNet', depth=10, widen_factor=1), 64,
                          [*LAYERS[:2], 'backbone.layer3.bn']),
    'cifar_vgg': (dict(type='CIFARVGG', depth=8), 512, [f'{name}.convs.1' for name in LAYERS]),
    'cifar_vgg13': (dict(type='CIFARVGG', depth=13), 512, [f'{name}.convs.4' for name in LAYERS]),
    'cifar_mobilenet_v2': (dict(type='CIFARMobileNetV2'), 1280, [*LAYERS[:3], 'backbone.tail.1']),
    'cifar_shufflenet_v1': (dict(type='CIFARShuffleNetV1'), 960,
                            ['backbone.layer1.3', 'backbone.layer2.7', 'backbone.layer3.3']),
    'cifar_shufflenet_v2': (dict(type='CIFARShuffleNetV2'), 1024, [*LAYERS[:2], 'backbone.tail']),
}


def classifier(backbone, channels, neck=dict(type='GlobalAveragePooling'),  # noqa: B006
               classes=7):
    torch.manual_seed(0)
    return MODELS.build(dict(
        type='ImageClassifier', backbone=copy.deepcopy(backbone), neck=neck,
        head=dict(type='LinearClsHead', num_classes=classes, in_channels=channels)))


def network(name):
    backbone, channels, _ = NETWORKS[name]
    neck = dict(type='GlobalAveragePooling', dim=1 if name == 'mlp_mixer' else 2)
    return classifier(backbone, channels, neck=None if name in WITHOUT_NECK else neck)


def images(n=2, size=64):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize('name', NETWORKS)
def test_in_a_row_the_stages_are_the_network(name):
    model, x = network(name), images(2, 64 if name in LARGER else 32)
    before = copy.deepcopy(model.state_dict())
    net = StagedNetwork(model)
    assert [feature.name for feature in net.features] == NETWORKS[name][2]
    assert net.classes == 7
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    for training in (True, False):
        model.train(training)
        torch.manual_seed(1)  # for drop path
        with net.recording() as own:
            logits = model(x)
        torch.manual_seed(1)
        outputs = net.run(0, x)
        assert len(outputs) == len(net) + 1
        assert torch.equal(own.logits, logits)
        for mine, theirs in zip(outputs, [*own.features, logits]):
            assert torch.equal(mine, theirs)
    for k, feature in enumerate(own.features, 1):
        for mine, theirs in zip(net.run(k, feature), [*own.features[k:], own.logits]):
            assert torch.equal(mine, theirs)
    for known, feature in zip(net.features, own.features):
        assert feature.shape[1 if feature.ndim == 4 else 2] == known.channels
        if feature.ndim == 4:
            assert [size * known.image for size in feature.shape[2:]] == \
                [size * x.shape[2] for size in known.size]
        assert known.post_relu == bool((feature >= 0).all())


def test_vgg_with_fully_connected_layers_needs_larger_images():
    torch.manual_seed(0)
    model = MODELS.build(dict(type='ImageClassifier', head=dict(type='ClsHead'),
                              backbone=dict(type='VGG', depth=11, num_classes=6)))
    net = StagedNetwork(model.eval())
    assert net.features[0].image == 224 and net.classes == 6
    x = images(1, 224)
    assert torch.equal(net.run(0, x)[-1], model(x))


def test_lenet_is_cut_in_its_one_row():
    torch.manual_seed(0)
    model = MODELS.build(dict(type='ImageClassifier', head=dict(type='ClsHead'),
                              backbone=dict(type='LeNet5', num_classes=6)))
    net = StagedNetwork(model.eval())
    assert [feature.name for feature in net.features] == [
        'backbone.features.2', 'backbone.features.4', 'backbone.features.5',
        'backbone.features.7']
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(net.run(0, x)[-1], model(x))


@pytest.mark.parametrize('backbone, channels, size', [
    (dict(type='ResNet', depth=18, base_channels=8, stem_channels=8, in_channels=1), 64, 64),
    (dict(type='SwinTransformerV2', img_size=256, window_size=[16, 16, 16, 8], arch=dict(
        embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], extra_norm_every_n_blocks=0)),
     64, 256)])
def test_a_network_for_grey_images_or_of_one_size_is_cut(backbone, channels, size):
    model = classifier(backbone, channels).eval()
    net = StagedNetwork(model)
    assert net.features[0].image == size
    x = torch.randn(2, backbone.get('in_channels', 3), size, size)
    assert torch.equal(net.run(0, x)[-1], model(x))


@pytest.mark.parametrize('name, stages', [
    ('resnet', ['backbone.layer1.0', 'backbone.layer2', 'backbone.layer4.1']),
    ('resnet', ['backbone.relu', 'backbone.layer3']),
    ('cifar_vgg', ['backbone.layer1.convs', 'backbone.layer3', 'backbone.layer4']),
    ('cifar_mobilenet_v2', ['backbone.layer2', 'backbone.layer3.1.0', 'backbone.tail']),
    ('vgg', ['backbone.features.2', 'backbone.features.9'])])
def test_stages_by_name(name, stages):
    model = network(name).eval()
    net = StagedNetwork(model, stages)
    assert [feature.name for feature in net.features] == stages
    with net.recording() as own:
        logits = model(images())
    for k, feature in enumerate(own.features, 1):
        assert torch.equal(net.run(k, feature)[-1], logits)
        assert len(net.run(k, feature, until=k + 1)) == 1


def test_entering_leaves_out_all_that_comes_before():
    model = network('vit').eval()
    net = StagedNetwork(model)
    with net.recording() as own:
        model(images())
    ran = []
    handles = [module.register_forward_pre_hook(lambda module, _: ran.append(module))
               for module in model.modules()]
    model.backbone.patch_embed.projection.register_forward_pre_hook(lambda *_: 1 / 0)
    for layer in model.backbone.layers[:3]:  # what would be computed again
        layer.attn.register_forward_pre_hook(lambda *_: 1 / 0)
    assert torch.equal(net.run(2, own.features[1])[-1], own.logits)
    assert model.backbone.layers[3].attn in ran and model not in ran
    assert all('forward' not in vars(module) for module in model.modules())
    assert len(handles) > 0


@ROOT.register_module()
class Writes(BaseModule):
    """Writes to what its first layer gave, between two of its stages and before them."""

    def __init__(self):
        super().__init__()
        self.stem, self.layer1, self.layer2 = (nn.Conv2d(i, 4, 3, padding=1) for i in (3, 4, 4))

    def forward(self, x):
        x = self.stem(x)
        x[:, :2] *= 2
        return self.layer2(self.layer1(x)),


def test_a_network_that_writes_to_what_comes_before_a_stage():
    model = classifier(dict(type='Writes'), 4)
    net = StagedNetwork(model, ['backbone.layer1', 'backbone.layer2'])
    x = images()
    with net.recording() as own:
        model(x)
    for _ in range(2):  # nor does it write to what the next run is given
        outputs = net.run(1, own.features[0].detach())
        assert torch.equal(outputs[0], own.features[1]) and torch.equal(outputs[1], own.logits)
    outputs[1].sum().backward()
    assert model.backbone.layer2.weight.grad is not None
    assert model.backbone.stem.weight.grad is None


@ROOT.register_module()
class Fails(BaseModule):
    """Two layers, the second of which may fail."""

    def __init__(self):
        super().__init__()
        self.layer1, self.layer2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.fails = False

    def forward(self, x):
        x = self.layer2(self.layer1(x))
        if self.fails:
            raise ZeroDivisionError
        return x,


def test_an_error_on_the_way_leaves_the_network_as_it_was():
    model = classifier(dict(type='Fails'), 4).eval()
    net = StagedNetwork(model, ['backbone.layer1', 'backbone.layer2'])
    x = images()
    with net.recording() as own:
        logits = model(x)
    model.backbone.fails = True
    with pytest.raises(ZeroDivisionError):
        net.run(1, own.features[0])
    model.backbone.fails = False
    assert torch.equal(model(x), logits)
    assert all('forward' not in vars(module) for module in model.modules())
    with net.recording() as again:
        model(x)
    assert all(map(torch.equal, again.features, own.features))
    assert torch.equal(again.logits, own.logits)


def test_a_stage_inside_a_checkpointed_module_is_refused():
    model = network('resnet')
    net = StagedNetwork(model, ['backbone.layer2', 'backbone.layer3.0', 'backbone.layer4'])
    with net.recording() as own:
        model(images())
    turn_on_activation_checkpointing(model, ['backbone.layer3'])
    assert len(net.run(1, own.features[0])) == 3
    with pytest.raises(ConfigError, match='lies in .backbone.layer3., which is checkpointed'):
        net.run(2, own.features[1])


def test_images_of_another_shape_from_step_to_step():
    model = network('swin').eval()
    net = StagedNetwork(model)
    for height, width in ((64, 64), (64, 96), (128, 64)):
        x = images(3)[:, :, :1, :1].expand(3, 3, height, width) + torch.rand(height, width)
        with net.recording() as own:
            logits = model(x)
        for k, feature in enumerate(own.features, 1):
            assert torch.equal(net.run(k, feature)[-1], logits)


def test_two_streams_are_refused():
    model = MODELS.build(dict(
        type='ImageClassifier', backbone=dict(type='HRNet', arch='w18'),
        neck=[dict(type='HRFuseScales', in_channels=(18, 36, 72, 144)),
              dict(type='GlobalAveragePooling')],
        head=dict(type='LinearClsHead', in_channels=2048, num_classes=7)))
    with pytest.raises(ConfigError, match='not all that .backbone.stage2. gives is one tensor'):
        StagedNetwork(model)


def test_recording_takes_the_features_of_the_loss():
    model = network('resnet').train()
    net = StagedNetwork(model)
    samples = [DataSample().set_gt_label(1) for _ in range(2)]
    with net.recording() as record:
        loss = model(images(), samples, mode='loss')['loss']
    assert torch.equal(loss, F.cross_entropy(record.logits, torch.tensor([1, 1])))
    assert torch.autograd.grad(loss, record.features[0])[0].abs().sum() > 0
    kept = [*record.features, record.logits]
    model(images() * 2)  # outside
    assert all(mine is theirs for mine, theirs in zip([*record.features, record.logits], kept))


def test_hooks_are_set_once_and_on_what_takes_the_place_of_a_module():
    model = network('resnet').eval()
    net = StagedNetwork(model, ['backbone.bn1', 'backbone.layer4'])
    counts = set()
    for _ in range(3):
        with net.recording() as record:
            model(images())
        net.run(1, record.features[0])
        counts.add(sum(len(module._forward_hooks) for module in model.modules()))
    assert len(counts) == 1
    model.backbone.bn1 = torch.nn.Identity()  # as SyncBN would
    other = copy.deepcopy(net)
    for each in (net, other):
        with each.recording() as record:
            logits = each.model(images())
        assert torch.equal(record.logits, logits)
        assert torch.equal(each.run(2, record.features[1])[-1], logits)


def test_modules_after():
    net = StagedNetwork(network('resnet'))
    after = net.modules_after(3)
    assert {name.split('.')[0] for name in after} == {'backbone', 'neck', 'head'}
    assert {name.split('.')[1] for name in after if name.startswith('backbone')} == {'layer4'}
    assert all(module is net.model.get_submodule(name) for name, module in after.items())
    assert list(net.modules_after(4)) == ['neck', 'neck.gap', 'head', 'head.loss_module', 'head.fc']


def test_modules_may_be_replaced_later():
    model = network('resnet').eval()
    net = StagedNetwork(model)
    model.backbone.layer4 = nn.Conv2d(32, 64, 1)
    x = images()
    assert torch.equal(net.run(0, x)[-1], model(x))


def test_a_copy_runs_the_copy():
    net = StagedNetwork(network('resnet').eval())
    other = copy.deepcopy(net)
    for parameter in net.model.parameters():
        parameter.data.zero_()
    assert net.run(0, images())[-1].abs().max() == 0
    assert torch.equal(other.run(0, images())[-1], other.model(images()))
    assert other.run(0, images())[-1].abs().max() > 0


@ROOT.register_module()
class NotARow(BaseModule):
    """Adds the output of its first layer after the second."""

    def __init__(self, inplace=False):
        super().__init__()
        self.layer1, self.layer2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1)
        self.layer3 = nn.Sequential(nn.ReLU(inplace=inplace), nn.Conv2d(4, 4, 1))
        self.inplace = inplace

    def forward(self, x):
        first = self.layer1(x)
        second = self.layer2(first)
        return self.layer3(second if self.inplace else second + first),


@pytest.mark.parametrize('stages, found, fits', [
    (['backbone.layer2', 'backbone.layer1'], "found ['backbone.layer2', 'backbone.layer1']",
     "the order is ['backbone.layer1', 'backbone.layer2']"),
    (['backbone.layer2', 'backbone.layer2'], 'once', 'backbone.layer2'),
    (['backbone.layers2'], "no module 'backbone.layers2'", "'backbone.layer2'"),
    (['backbone.layer2', 'neck'], "'neck' gives [1, 64]", 'a module before it'),
    (['backbone.layer1.0.downsample'], 'no module', 'backbone.layer'),
    (['backbone.layer2.0.downsample'], "after 'backbone.layer2.0.downsample'",
     'name stages that all of the network goes through'),
    (['backbone.layer2.0.conv1'], 'also reads what was computed before it',
     'name stages that all of the network goes through'),
    (['backbone.layer2', 'backbone.layer3.0.relu'], "'backbone.layer3.0.relu' runs 2 times",
     'name modules that run once'),
])
def test_wrong_stages_say_what_would_fit(stages, found, fits):
    with pytest.raises(ConfigError) as error:
        StagedNetwork(network('resnet'), stages, 'student_stages')
    message = str(error.value)
    assert message.startswith('student_stages: ') and '\n' not in message
    assert found in message and fits in message


def test_what_is_not_a_row_is_refused():
    model = classifier(dict(type='NotARow'), 4)
    with pytest.raises(ConfigError, match="after 'backbone.layer2' ImageClassifier also reads"):
        StagedNetwork(model, ['backbone.layer1', 'backbone.layer2'])
    with pytest.raises(ConfigError, match='no default for NotARow; name modules that all'):
        StagedNetwork(model)


def test_a_stage_that_is_overwritten_is_mended():
    model = classifier(dict(type='NotARow', inplace=True), 4).eval()
    before = model(images())
    net = StagedNetwork(model, ['backbone.layer1', 'backbone.layer2'])
    with net.recording() as own:
        assert torch.equal(model(images()), before)
    assert own.features[1].min() < 0 and not net.features[1].post_relu
    assert torch.equal(net.run(2, own.features[1])[-1], before)


def test_sides_are_not_touched():
    model = network('resnet').train()
    model.backbone.layer1.eval()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    StagedNetwork(model)
    assert torch.equal(torch.rand(3), expected)
    assert model.training and not model.backbone.layer1.training
