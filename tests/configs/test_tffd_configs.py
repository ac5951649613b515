"""configs/tffd against the paper's recipes and tables, written down a second time."""
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.hub import get_config
from mmengine.registry import MODELS as ROOT
from mmrazor.registry import HOOKS, MODELS
from torch.nn import functional as F

import mmdistill_ext  # noqa: F401
from mmdistill_ext.engine.hooks.loss_weight_hook import factor_at

from .tiny import CONFIGS, load

TFFD = CONFIGS / 'tffd'
NAMES = sorted(str(path.relative_to(CONFIGS)) for path in TFFD.rglob('*.py')
               if path.parent.name != '_base_')
NETWORKS = json.loads((Path(__file__).parents[1] / 'data' / 'cifar_teachers.json').read_text())
S2, S3, S4, S5 = (f'backbone.layer{number}' for number in (1, 2, 3, 4))
ALPHA, BETA = 5e-4, 8e-4


@dataclass
class Cifar:
    """A column of Table 1: configs of the networks and their names in the literature."""
    student: dict
    name: str
    teacher: dict
    teacher_name: str


CIFAR = {
    'resnet20': Cifar(dict(type='CIFARResNet', depth=20), 'resnet20',
                      dict(type='CIFARResNet', depth=110), 'resnet110'),
    'resnet32': Cifar(dict(type='CIFARResNet', depth=32), 'resnet32',
                      dict(type='CIFARResNet', depth=110), 'resnet110'),
    'wrn-16-2': Cifar(dict(type='CIFARWideResNet', depth=16, widen_factor=2), 'wrn_16_2',
                      dict(type='CIFARWideResNet', depth=40, widen_factor=2), 'wrn_40_2'),
    'resnet8x4': Cifar(dict(type='CIFARResNet', depth='8x4'), 'resnet8x4',
                       dict(type='CIFARResNet', depth='32x4'), 'resnet32x4'),
    'vgg8': Cifar(dict(type='CIFARVGG', depth=8), 'vgg8',
                  dict(type='CIFARVGG', depth=13), 'vgg13'),
}
PLAIN = {f'tffd/cls/tffd_{key}_1xb128_cifar100.py': row for key, row in CIFAR.items()}
LOGITS = {
    f'tffd/cls/tffd-logits_{row.teacher_name.replace("_", "-")}_{key}_1xb128_cifar100.py': row
    for key, row in [*CIFAR.items(), ('resnet20', Cifar(
        CIFAR['resnet20'].student, 'resnet20', dict(type='CIFARResNet', depth=56), 'resnet56'))]}
# The form of the paper's text, with weights that are ours.
PAPER = {f'tffd/cls/tffd-paper_{key}_1xb128_cifar100.py': CIFAR[key]
         for key in ('resnet20', 'resnet32')}
# Table 4: (layers of inter-layer, layers of intra-layer)
ABLATIONS = {
    'inter-s3s2': ([S2, S3], None), 'inter-s4s3': ([S3, S4], None), 'inter-s4s2': ([S2, S4], None),
    'inter': ([S2, S3, S4], None), 'intra-s2': (None, [S2]), 'intra-s3': (None, [S3]),
    'intra-s4': (None, [S4]), 'intra': (None, [S2, S3, S4])}
ABLATIONS = {f'tffd/cls/tffd-{key}_resnet20_1xb128_cifar100.py': row
             for key, row in ABLATIONS.items()}
IMAGENET = 'tffd/cls/tffd_resnet18_8xb32_in1k.py'
IMAGENET_LOGITS = 'tffd/cls/tffd-logits_resnet34_resnet18_8xb32_in1k.py'
COCO = 'tffd/det/tffd_faster-rcnn_r50_fpn_2x_coco.py'
CITYSCAPES = {f'tffd/seg/tffd_{net}_r18-d8_8xb2-40k_cityscapes-512x512.py': net
              for net in ('pspnet', 'deeplabv3')}
RESNET18 = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'


def links(inter=None, intra=None, alpha=ALPHA, beta=BETA, tau=None, form='released'):
    expected = {}
    if intra:
        expected['loss_intra'] = dict(
            student=intra, loss=dict(type='TfFDIntraLoss', form=form, loss_weight=beta))
    if inter:
        expected['loss_inter'] = dict(
            student=inter, loss=dict(type='TfFDInterLoss', form=form, loss_weight=alpha))
    if tau:
        expected['loss_kd'] = dict(
            student='head.fc', teacher='head.fc', loss=dict(type='KLDivergence', tau=tau))
    return expected


def check(name, algorithm, expected_links):
    config = load(name)
    assert (config.model._scope_, config.model.type) == ('mmrazor', algorithm)
    assert config.model.distiller.to_dict() == dict(type='LinkDistiller', links=expected_links)
    assert config.custom_imports == dict(imports=['mmdistill_ext'], allow_failed_imports=False)
    return config


def test_every_config_is_in_one_of_the_tables():
    assert NAMES == sorted([*PLAIN, *LOGITS, *PAPER, *ABLATIONS, IMAGENET, IMAGENET_LOGITS, COCO,
                            *CITYSCAPES])


@pytest.mark.parametrize('name', [*PLAIN, *LOGITS, *PAPER, *ABLATIONS])
def test_cifar_is_trained_as_the_authors_do(name):
    config = load(name)
    data = config.train_dataloader
    assert (data.dataset.type, data.dataset.split, data.batch_size) == ('CIFAR100', 'train', 128)
    assert config.val_dataloader.dataset.split == 'test'
    assert config.train_cfg.max_epochs == 240
    optimizer = {key: value for key, value in config.optim_wrapper.optimizer.items()
                 if key != '_scope_'}
    assert optimizer == dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = config.param_scheduler
    assert (schedule.milestones, schedule.gamma, schedule.by_epoch) == ([150, 180, 210], 0.1, True)
    crop, flip = data.dataset.pipeline[:2]
    assert (crop.crop_size, crop.padding, crop.padding_mode, flip.prob) == (32, 4, 'reflect', 0.5)
    hooks = {hook.loss: HOOKS.build(hook) for hook in config.custom_hooks}
    assert set(hooks) == set(config.model.distiller.links), 'every term is warmed up'
    for hook in hooks.values():
        assert [factor_at(hook.phases, epoch) for epoch in range(240)] == pytest.approx(
            [min(1, (epoch + 1) / 20) for epoch in range(240)])
    assert config.model.architecture.head.init_cfg is None, "PyTorch's own classifier"


@pytest.mark.parametrize('name', [*PLAIN, *LOGITS, *PAPER])
def test_cifar_networks(name):
    row = {**PLAIN, **LOGITS, **PAPER}[name]
    stages = [S2, S3, S4]
    if name in PLAIN:
        config = check(name, 'TeacherFreeDistill', links(stages, stages))
        assert 'teacher' not in config.model
    elif name in PAPER:
        check(name, 'TeacherFreeDistill', links(stages, stages, 5e-6, 8e-6, form='paper'))
        config = load(name)
    else:
        config = check(name, 'LeanTeacherDistill', links(stages, stages, tau=4))
        assert config.model.teacher_ckpt == f'checkpoints/cifar100/{row.teacher_name}.pth'
        check_network(config.model.teacher, row.teacher, row.teacher_name)
    check_network(config.model.architecture, row.student, row.name)


def check_network(model, backbone, name):
    assert model.backbone == backbone
    assert model.head.num_classes == 100
    assert [model.head.in_channels] == NETWORKS[name]['features'][-1]
    assert model.data_preprocessor.mean == [129.3105, 124.0575, 112.4295]  # .5071 .4865 .4409
    assert model.data_preprocessor.std == [68.1615, 65.382, 70.431]


@pytest.mark.parametrize('key', CIFAR)
def test_the_stages_are_those_of_the_literature(key):
    """S2, S3, S4 have the shapes that the networks' public definitions give."""
    backbone = ROOT.build(CIFAR[key].student)
    shapes = []
    for place in (S2, S3, S4):
        backbone.get_submodule(place.split('.')[1]).register_forward_hook(
            lambda _, __, output: shapes.append(list(output.shape[1:])))
    with torch.no_grad():
        backbone.eval()(torch.zeros(1, 3, 32, 32))
    assert shapes == NETWORKS[CIFAR[key].name]['features'][1:4]


@pytest.mark.parametrize('name', ABLATIONS)
def test_ablation_changes_nothing_but_the_layers(name):
    ablation = check(name, 'TeacherFreeDistill', links(*ABLATIONS[name])).to_dict()
    recipe = load('tffd/cls/tffd_resnet20_1xb128_cifar100.py').to_dict()
    for config in (ablation, recipe):
        config.pop('links', None)
        config.pop('custom_hooks')  # one for each link, tested above
        config['model']['distiller'].pop('links')
    assert ablation == recipe


def test_imagenet():
    stages = [S2, S3, S4, S5]
    plain = check(IMAGENET, 'TeacherFreeDistill', links(stages, stages))
    logits = check(IMAGENET_LOGITS, 'LeanTeacherDistill', links(stages, stages, tau=1))
    for config in (plain, logits):
        assert config.model.architecture == dict(cfg_path=RESNET18, pretrained=False)
        data = config.train_dataloader
        assert (data.dataset.type, data.batch_size) == ('ImageNet', 32)
        assert config.train_cfg.max_epochs == 100
        optimizer = config.optim_wrapper.optimizer
        assert (optimizer.lr, optimizer.weight_decay) == (0.1, 1e-4)
        assert config.param_scheduler.milestones == [30, 60, 90]
    assert logits.model.teacher == dict(
        cfg_path='mmpretrain::resnet/resnet34_8xb32_in1k.py', pretrained=False)
    zoo = get_config(logits.model.teacher.cfg_path, pretrained=True)
    assert logits.model.teacher_ckpt == zoo.model_path


@pytest.mark.parametrize('name', [IMAGENET, IMAGENET_LOGITS])
def test_imagenet_weights_warm_up_and_decay_early(name):
    config = load(name)
    hooks = [HOOKS.build(hook) for hook in config.custom_hooks]
    assert [hook.loss for hook in hooks] == ['loss_intra', 'loss_inter']
    for hook in hooks:
        assert hook.by_epoch
        factors = [factor_at(hook.phases, epoch) for epoch in range(100)]
        assert factors[:6] == pytest.approx([0., .2, .4, .6, .8, 1.])
        assert factors[5:31] == [1.] * 26
        assert factors[45] == pytest.approx(.5)
        assert factors[60:] == [0.] * 40


def test_coco():
    stages = [S3, S4, S5]
    config = check(COCO, 'TeacherFreeDistill', links(stages, stages))
    path = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_2x_coco.py'
    assert config.model.architecture == dict(cfg_path=path, pretrained=False)
    assert get_config(path).model.backbone.frozen_stages == 1, 'layer1 would learn nothing'
    assert config.train_dataloader.dataset.type == 'CocoDataset'
    assert config.train_cfg.max_epochs == 24
    assert config.param_scheduler[-1].milestones == [16, 22]


@pytest.mark.parametrize('name', CITYSCAPES)
def test_cityscapes(name):
    stages, net = [S2, S3, S4, S5], CITYSCAPES[name]
    config = check(name, 'TeacherFreeDistill', links(stages, stages))
    path = f'mmseg::{net}/{net}_r18-d8_4xb2-80k_cityscapes-512x1024.py'
    assert config.model.architecture == dict(cfg_path=path, pretrained=False)
    assert (config.train_cfg.max_iters, config.train_dataloader.batch_size) == (40000, 2)
    crops = [step.crop_size for step in config.train_dataloader.dataset.pipeline
             if step.type == 'RandomCrop']
    assert crops == [config.model.data_preprocessor.size] == [(512, 512)]


@pytest.mark.parametrize('tau', [1, 4])
def test_the_kl_of_the_recipes_is_the_papers(tau):
    """T^2 * KL(softmax(t / T) || softmax(s / T)), batch mean, weight 1."""
    student, teacher = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)).double()
    loss = MODELS.build(dict(_scope_='mmrazor', type='KLDivergence', tau=tau))(student, teacher)
    expected = 0.
    for s, t in zip(student, teacher):
        p, q = F.softmax(t / tau, 0).tolist(), F.softmax(s / tau, 0).tolist()
        expected += sum(a * (torch.tensor(a).double() / b).log().item() for a, b in zip(p, q))
    assert loss.item() == pytest.approx(tau**2 * expected / 3, rel=1e-6)


@pytest.mark.parametrize('name', NAMES)
def test_config_fits_on_a_screen(name):
    assert len((CONFIGS / name).read_text().splitlines()) < 40


def test_metafile_lists_every_config_with_its_models():
    models = {}
    for entry in yaml.safe_load((TFFD / 'metafile.yml').read_text())['Models']:
        models[str(Path(entry['Config']).relative_to('configs'))] = entry['Metadata']
    assert sorted(models) == NAMES
    for name, metadata in models.items():
        config = load(name).model
        assert metadata.get('Teacher', {}).get('Weights') == config.get('teacher_ckpt')
        assert metadata['Student'].get('Config') == config.architecture.get('cfg_path')
        places = next(link.student for link in config.distiller.links.values())
        assert metadata['Location'].split(', ') == places


def test_readme_links_to_every_config():
    readme = (TFFD / 'README.md').read_text()
    assert [name for name in NAMES if f'({name[len("tffd/"):]})' not in readme] == []
