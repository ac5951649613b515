"""configs/fcfd/cls against the recipes of the paper, written down here a second time."""
import copy
from dataclasses import dataclass

import pytest
import torch
import yaml
from mmengine.model import convert_sync_batchnorm
from mmengine.registry import MODELS
from mmpretrain.structures import DataSample
from mmrazor.registry import HOOKS
from torch import nn

from mmdistill_ext.engine.hooks.loss_weight_hook import factor_at
from mmdistill_ext.models.losses import DecoupledKLLoss

from .tiny import CONFIGS, build_model, load

CLS = CONFIGS / 'fcfd/cls'
CIFAR, BEST = '1xb64_cifar100.py', 'resnet32x4_resnet8x4'
NETWORKS = {  # backbone, channels that the classifier sees, checkpoint
    'resnet32x4': (dict(type='CIFARResNet', depth='32x4'), 256, 'resnet32x4'),
    'resnet8x4': (dict(type='CIFARResNet', depth='8x4'), 256, 'resnet8x4'),
    'resnet56': (dict(type='CIFARResNet', depth=56), 64, 'resnet56'),
    'resnet20': (dict(type='CIFARResNet', depth=20), 64, 'resnet20'),
    'wrn-40-2': (dict(type='CIFARWideResNet', depth=40, widen_factor=2), 128, 'wrn_40_2'),
    'wrn-16-2': (dict(type='CIFARWideResNet', depth=16, widen_factor=2), 128, 'wrn_16_2'),
    'wrn-40-1': (dict(type='CIFARWideResNet', depth=40, widen_factor=1), 64, 'wrn_40_1'),
    'vgg13': (dict(type='CIFARVGG', depth=13), 512, 'vgg13'),
    'vgg8': (dict(type='CIFARVGG', depth=8), 512, 'vgg8'),
    'resnet50': (dict(type='ResNet_CIFAR', depth=50), 2048, 'ResNet50'),
    'mobilenet-v2': (dict(type='CIFARMobileNetV2', widen_factor=0.5), 1280, 'MobileNetV2'),
    'shufflenet-v1': (dict(type='CIFARShuffleNetV1'), 960, 'ShuffleV1'),
    'shufflenet-v2': (dict(type='CIFARShuffleNetV2'), 1024, 'ShuffleV2')}


@dataclass
class Pair:
    """One of the ten in the table of the authors' settings."""
    lr: float = 0.05
    tau: float = 4
    kl: float = 1  # weight of the paths' KL
    mse: float = 5  # weight of the MSE terms


PAIRS = {
    'resnet32x4_resnet8x4': Pair(),
    'resnet56_resnet20': Pair(mse=0.02),
    'wrn-40-2_wrn-16-2': Pair(kl=0.2),
    'wrn-40-2_wrn-40-1': Pair(),
    'vgg13_vgg8': Pair(),
    'resnet32x4_shufflenet-v1': Pair(lr=0.01, tau=8),
    'wrn-40-2_shufflenet-v1': Pair(lr=0.01),
    'vgg13_mobilenet-v2': Pair(lr=0.01),
    'resnet50_mobilenet-v2': Pair(lr=0.01, tau=8),
    'resnet32x4_shufflenet-v2': Pair(lr=0.01, tau=8)}
LAYERS = ['layer1', 'layer2', 'layer3', 'layer4']
STAGES = {  # where the stages end, the sizes of their maps, whether each comes out of a ReLU
    'resnet32x4': (LAYERS[:3], [32, 16, 8], 'yyy'),
    'resnet8x4': (LAYERS[:3], [32, 16, 8], 'yyy'),
    'resnet56': (LAYERS[:3], [32, 16, 8], 'yyy'),
    'resnet20': (LAYERS[:3], [32, 16, 8], 'yyy'),
    'wrn-40-2': (['layer1', 'layer2', 'layer3.bn'], [32, 16, 8], 'nnn'),
    'wrn-16-2': (['layer1', 'layer2', 'layer3.bn'], [32, 16, 8], 'nnn'),
    'wrn-40-1': (['layer1', 'layer2', 'layer3.bn'], [32, 16, 8], 'nnn'),
    'vgg13': ([f'{layer}.convs.4' for layer in LAYERS], [16, 8, 4, 4], 'nnnn'),
    'vgg8': ([f'{layer}.convs.1' for layer in LAYERS], [16, 8, 4, 4], 'nnnn'),
    'resnet50': (LAYERS, [32, 16, 8, 4], 'yyyy'),
    'mobilenet-v2': ([*LAYERS[:3], 'tail.1'], [16, 8, 4, 2], 'nnnn'),
    'shufflenet-v1': (['layer1.3', 'layer2.7', 'layer3.3'], [16, 8, 4], 'nnn'),
    'shufflenet-v2': (['layer1', 'layer2', 'tail'], [16, 8, 4], 'yyy')}
COMBINED = ['resnet32x4_resnet8x4', 'wrn-40-2_wrn-16-2', 'wrn-40-2_wrn-40-1',
            'resnet32x4_shufflenet-v1', 'resnet32x4_shufflenet-v2']
# what an ablation changes in the model's config, and whether DDP finds bridges without gradient
ONE_WAY = {'s2t': dict(num=2, directions='s2t'), 't2s': dict(num=2, directions='t2s')}
ABLATIONS = {
    'fcfd-kd': (dict(paths=dict(num=0), appearance=False), False),
    'fcfd-app': (dict(paths=dict(num=0)), False),
    'fcfd-func': (dict(appearance=False), True),
    'fcfd-s2t': (dict(paths=ONE_WAY['s2t']), False),
    'fcfd-t2s': (dict(paths=ONE_WAY['t2s']), False),
    'fcfd-s2t-kl': (dict(paths=ONE_WAY['s2t'], s2t_terms='kl'), False),
    'fcfd-s2t-l2': (dict(paths=ONE_WAY['s2t'], s2t_terms='l2'), False),
    'fcfd-t2s-l2': (dict(paths=ONE_WAY['t2s'], t2s_terms=['kl', 'l2']), False),
    'fcfd-1path': (dict(paths=dict(num=1)), True),
    'fcfd-3paths': (dict(paths=dict(num=3)), True),
    'fcfd-all': (dict(paths=dict(num='all')), False),
    'fcfd-position1': (dict(paths=dict(num=2, positions=[1])), False),
    'fcfd-position2': (dict(paths=dict(num=2, k_min=2)), False),
    'fcfd-partial': (dict(partial=True, s2t_terms='l2'), True)}
IN1K = {'resnet34_resnet18': 0.02, 'resnet50_mobilenet-v1': 5}  # weight of the MSE terms
SGD_IN1K = dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)


def plain(config):
    """Of what a child of the base config inherits, without the scope that mmpretrain notes."""
    if isinstance(config, dict):
        return {key: plain(value) for key, value in config.items() if key != '_scope_'}
    return config


def test_the_recipes_are_these():
    names = {f'fcfd_{pair}_{CIFAR}' for pair in PAIRS}
    names |= {f'fcfd_{pair}_8xb32{variant}_in1k.py' for pair in IN1K for variant in ('', '-fp32')}
    names |= {f'{name}_{BEST}_{CIFAR}' for name in
              (*ABLATIONS, 'fcfd-online', 'fcfd-mlp-tffd')}
    names |= {f'{name}_resnet56_resnet20_{CIFAR}' for name in ('fcfd-kd', 'fcfd-app')}
    names |= {f'fcfd-{other}_{pair}_{CIFAR}' for other in ('dkd', 'simkd') for pair in COMBINED}
    assert {path.name for path in CLS.glob('*.py')} == names
    models = yaml.safe_load((CONFIGS / 'fcfd/metafile.yml').read_text())['Models']
    listed = {model['Config'] for model in models if '/cls/' in model['Config']}
    assert listed == {f'configs/fcfd/cls/{name}' for name in names}
    readme = (CONFIGS / 'fcfd/README.md').read_text()
    assert all(f'(cls/{name})' in readme for name in names)


def test_the_tables_give_the_averages_that_the_paper_states():
    rows = [line.strip('| ').split(' | ') for line in
            (CONFIGS / 'fcfd/README.md').read_text().splitlines() if line.startswith('| ')]
    means = {}
    for name, *cells in rows:
        if len(cells) == 5 and name.strip('*') in ('Student', 'KD', 'ReviewKD', 'FCFD'):
            cells = [float(cell.strip('*')) for cell in cells]
            means.setdefault(name.strip('*'), []).append(sum(cells) / 5)
    same, other = ({name: pair[i] for name, pair in means.items()} for i in range(2))
    for table, stated in ((same, dict(Student=3.70, KD=2.05)),
                          (other, dict(Student=6.78, KD=3.57, ReviewKD=0.66))):
        for name, gain in stated.items():
            assert table['FCFD'] - table[name] == pytest.approx(gain, abs=0.01)


def check_schedule(config, lr):
    assert plain(config.optim_wrapper.optimizer) == dict(
        type='SGD', lr=lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
    assert config.param_scheduler.milestones == [150, 180, 210]
    assert config.param_scheduler.gamma == 0.1 and config.param_scheduler.by_epoch
    assert config.train_cfg.max_epochs == 240
    assert config.train_dataloader.batch_size == 64
    check_ramp(config, 20)


def check_ramp(config, epochs):
    """(e + 1) / epochs in epoch e, and never more than 1."""
    assert [config.type for config in config.custom_hooks] == ['mmrazor.LossWeightHook']
    hook = HOOKS.build(config.custom_hooks[0])
    assert hook.loss == 'loss_mse' and hook.by_epoch
    for epoch in range(config.train_cfg.max_epochs):
        assert factor_at(hook.phases, epoch) == pytest.approx(min(1, (epoch + 1) / epochs))


@pytest.mark.parametrize('name', PAIRS)
def test_cifar_pairs(name):
    pair, config = PAIRS[name], load(CLS / f'fcfd_{name}_{CIFAR}')
    check_schedule(config, pair.lr)
    model = config.model
    assert model.type == 'FCFDDistill' and plain(model.paths) == dict(num=2)
    kl = dict(type='KLDivergence', tau=pair.tau)
    assert plain(model.loss_kd) == kl
    assert plain(model.loss_func_kl) == (kl if pair.kl == 1 else dict(kl, loss_weight=pair.kl))
    assert plain(model.loss_mse) == dict(type='FeatureMSELoss', loss_weight=pair.mse)
    assert config.find_unused_parameters
    for side, network in zip((model.teacher, model.architecture), name.split('_')):
        backbone, channels, checkpoint = NETWORKS[network]
        assert plain(side.backbone) == backbone and side.neck.type == 'GlobalAveragePooling'
        assert (side['head'].in_channels, side['head'].num_classes) == (channels, 100)
        if side is model.teacher:
            assert model.teacher_ckpt == f'checkpoints/cifar100/{checkpoint}.pth'


@pytest.mark.parametrize('name', PAIRS)
def test_a_classifier_starts_as_in_repdistiller(name):
    student = name.split('_')[1]
    head = load(CLS / f'fcfd_{name}_{CIFAR}').model.architecture['head']
    head = MODELS.build(dict(head, type='mmpretrain.LinearClsHead'))
    torch.manual_seed(0)
    pytorchs = nn.Linear(NETWORKS[student][1], 100)
    torch.manual_seed(0)
    head.fc.reset_parameters()
    head.init_weights()
    weight, bias = head.fc.weight, head.fc.bias
    if student.startswith(('vgg', 'mobilenet')):
        assert weight.std().item() == pytest.approx(0.01, rel=0.01)
        assert not torch.equal(weight, pytorchs.weight) and not bias.any()
    elif student.startswith('wrn'):
        assert weight.std().item() == pytest.approx(pytorchs.weight.std().item(), rel=0.01)
        assert weight.abs().max() <= NETWORKS[student][1]**-0.5 and not bias.any()
    else:
        assert torch.equal(weight, pytorchs.weight) and torch.equal(bias, pytorchs.bias)


@pytest.mark.train  # builds all ten
@pytest.mark.parametrize('name', PAIRS)
def test_stages_are_the_authors(name):
    teacher, student = name.split('_')
    config = load(CLS / f'fcfd_{name}_{CIFAR}')
    assert not {'student_stages', 'teacher_stages'} & config.model.keys()
    algorithm = build_model(config)
    for net, network in ((algorithm.student_net, student), (algorithm.teacher_net, teacher)):
        check_stages(net, *STAGES[network])
    positions = range(1, len(STAGES[teacher][0]))
    assert [path.name for path in algorithm.sampler.candidates] == [
        f'{direction}_{k}' for k in positions for direction in ('s2t', 't2s')]
    assert not algorithm.teacher_norm_eval
    for name, bridge in algorithm.bridges.items():
        direction, k = name.split('_')
        post_relu = STAGES[teacher if direction == 's2t' else student][2][int(k) - 1]
        assert isinstance(bridge.act, nn.LeakyReLU if post_relu == 'y' else nn.Identity), name


def check_stages(net, ends, sizes, post_relu):
    assert [feature.name for feature in net.features] == [f'backbone.{end}' for end in ends]
    assert [feature.size[0] * 32 // feature.image for feature in net.features] == sizes
    assert ['ny'[feature.post_relu] for feature in net.features] == list(post_relu)


@pytest.mark.parametrize('name', ABLATIONS)
def test_ablations_change_this_and_nothing_else(name):
    changed, unused = ABLATIONS[name]
    base, config = load(CLS / f'fcfd_{BEST}_{CIFAR}'), load(CLS / f'{name}_{BEST}_{CIFAR}')
    assert plain(config.model) == {**plain(base.model), **changed}
    assert config.find_unused_parameters == unused
    for key in base.keys() - {'model', 'find_unused_parameters'}:
        assert config[key] == base[key], key


@pytest.mark.parametrize('name', COMBINED)
def test_with_dkd(name):
    pair = PAIRS[name]
    base, config = load(CLS / f'fcfd_{name}_{CIFAR}'), load(CLS / f'fcfd-dkd_{name}_{CIFAR}')
    dkd = dict(type='DecoupledKLLoss', tau=pair.tau)
    func = dkd if pair.kl == 1 else dict(dkd, loss_weight=pair.kl)
    assert plain(config.model) == {**plain(base.model), 'loss_kd': dkd, 'loss_func_kl': func}
    loss = DecoupledKLLoss()
    assert (loss.tckd_weight, loss.nckd_weight) == (1, 2)


@pytest.mark.train  # builds them
@pytest.mark.parametrize('name', COMBINED)
def test_with_simkd(name):
    teacher, student = name.split('_')
    config = load(CLS / f'fcfd-simkd_{name}_{CIFAR}')
    check_schedule(config, PAIRS[name].lr)
    assert config.model.type == 'FCFDSimKD'
    algorithm = build_model(config)
    assert algorithm.student.head.fc.in_features == NETWORKS[teacher][1]
    check_stages(algorithm.student_net, *STAGES[student])
    ends, sizes, _ = STAGES[teacher]
    check_stages(algorithm.teacher_net, [*ends[:2], 'layer3'], sizes,
                 'nny' if teacher.startswith('wrn') else 'yyy')
    assert algorithm.loss_kd.tau == algorithm.loss_func_kl.tau == PAIRS[name].tau
    convs = [layer.conv for layer in algorithm.student.neck[0].convs]
    half, out = NETWORKS[teacher][1] // 2, NETWORKS[teacher][1]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0]) for c in convs] == [
        (NETWORKS[student][1], half, 1), (half, half, 3), (half, out, 1)]


def test_online():
    config = load(CLS / f'fcfd-online_{BEST}_{CIFAR}')
    algorithm = build_model(config)
    assert type(algorithm).__name__ == 'FCFDOnline' and config.model.teacher_ckpt is None
    assert all(parameter.requires_grad for parameter in algorithm.teacher.parameters())
    assert algorithm.loss_teacher_kd.tau == 4 and algorithm.loss_teacher_kd.loss_weight == 1


def test_beside_the_other_two_methods():
    links = load(CLS / f'fcfd-mlp-tffd_{BEST}_{CIFAR}').model.distiller.links
    assert links.loss_mlp.loss.loss_weight == 7e-5 and links.loss_mlp.connector == 'MLPConnector'
    assert plain(links.loss_intra.loss) == dict(
        type='TfFDIntraLoss', form='released', loss_weight=8e-4)


@pytest.mark.train  # builds both
@pytest.mark.parametrize('name', IN1K)
def test_imagenet(name):
    config = load(CLS / f'fcfd_{name}_8xb32_in1k.py')
    model = config.model
    assert plain(config.optim_wrapper) == dict(
        type='AmpOptimWrapper', loss_scale='dynamic', optimizer=SGD_IN1K)
    assert config.param_scheduler.milestones == [30, 60, 90]
    assert config.param_scheduler.gamma == 0.1
    assert config.train_cfg.max_epochs == 100 and config.train_dataloader.batch_size == 32
    check_ramp(config, 5)
    assert plain(model.loss_kd) == plain(model.loss_func_kl) == dict(type='KLDivergence', tau=1)
    assert plain(model.loss_mse) == dict(type='FeatureMSELoss', loss_weight=IN1K[name])
    assert plain(model.paths) == dict(num=2) and config.find_unused_parameters
    teacher, student = name.split('_')
    assert model.teacher.cfg_path == f'mmpretrain::resnet/{teacher}_8xb32_in1k.py'
    assert model.teacher_ckpt == f'checkpoints/imagenet/{teacher}.pth'
    algorithm = build_model(config)
    assert len(algorithm.sampler.candidates) == 6 and not algorithm.teacher_norm_eval
    for net in (algorithm.student_net, algorithm.teacher_net):
        assert [feature.image / feature.size[0] for feature in net.features] == [4, 8, 16, 32]
    own, theirs = (net.data_preprocessor for net in (algorithm.student, algorithm.teacher))
    assert torch.equal(own.mean, theirs.mean) and torch.equal(own.std, theirs.std)
    check_start(algorithm.student)


def check_start(student):
    """As torchvision's ResNet-18 and a MobileNetV1 of PyTorch's own layers start."""
    bound = student.head.fc.in_features**-0.5  # of PyTorch's Linear
    for part in (student.head.fc.weight, student.head.fc.bias):
        assert 0.9 * bound < part.abs().max() <= bound
    for module in student.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and not module.bias.any()
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 2000:
            cout, cin, height, width = module.weight.shape
            std, most = module.weight.std().item(), module.weight.abs().max().item()
            if type(student.backbone).__name__ == 'MobileNetV1':
                bound = (cin * height * width)**-0.5
                assert std == pytest.approx(bound / 3**0.5, rel=0.05) and most <= bound
            else:
                assert std == pytest.approx((2 / (cout * height * width))**0.5, rel=0.05)


@pytest.mark.parametrize('name', IN1K)
def test_imagenet_in_float32_differs_in_nothing_else(name):
    base, config = (load(CLS / f'fcfd_{name}_8xb32{variant}_in1k.py') for variant in ('', '-fp32'))
    assert plain(config.optim_wrapper) == dict(type='OptimWrapper', optimizer=SGD_IN1K)
    assert {**base, 'optim_wrapper': None} == {**config, 'optim_wrapper': None}


@pytest.mark.train
def test_sync_bn_reaches_student_teacher_bridges_and_leaves_paths_their_statistics():
    """Converted as a runner does it: alone a process gives what BatchNorm gives."""
    config = load(CLS / 'fcfd_resnet34_resnet18_8xb32_in1k.py')
    assert config.sync_bn == 'torch'
    config.model.paths.num = 'all'
    torch.manual_seed(0)
    plain = build_model(config).double()
    algorithm = copy.deepcopy(plain)
    converted = convert_sync_batchnorm(algorithm, config.sync_bn)
    assert converted is algorithm
    kinds = {name: type(module) for name, module in algorithm.named_modules()
             if isinstance(module, nn.modules.batchnorm._BatchNorm)}
    assert set(kinds.values()) == {nn.SyncBatchNorm}
    assert {name.split('.')[0] for name in kinds} == {'architecture', 'teacher', 'bridges'}
    assert algorithm.student_net.model is algorithm.student
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)).double()
    samples = [DataSample().set_gt_label(i) for i in range(4)]
    plain.train()
    losses = [net(images, samples, mode='loss') for net in (plain, algorithm.train())]
    assert losses[0].keys() == losses[1].keys()
    for key, value in losses[0].items():
        torch.testing.assert_close(losses[1][key], value)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(algorithm.state_dict()[key], value, msg=key)
    moved = [key for key, value in algorithm.state_dict().items()
             if key.startswith('path_stats.') and key.endswith('tracked') and value == 1]
    assert len({key.split('.')[1] for key in moved}) == 6
