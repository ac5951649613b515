"""configs/mlp against the recipes of the paper, written down here a second time."""
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import pytest
import yaml
from mmengine.hub import get_config

from .tiny import CONFIGS, build_model, load, without_scope

MLP = CONFIGS / 'mlp'
NAMES = sorted(str(path.relative_to(CONFIGS)) for path in MLP.rglob('*.py'))
CITYSCAPES = '8xb2-40k_cityscapes-512x512.py'
X101_DCN = 'mmdet::dcn/cascade-mask-rcnn_x101-32x4d-dconv-c3-c5_fpn_1x_coco.py'
R101 = 'mmseg::pspnet/pspnet_r101-d8_4xb2-40k_cityscapes-512x1024.py'


@dataclass
class Recipe:
    """One row of the table."""
    teacher: str
    student: str
    place: str
    alpha: float
    lr: float
    inherit: tuple = ()


RECIPES = {
    'mlp/cls/mlp_backbone_resnet34_resnet18_8xb32_in1k.py': Recipe(
        'mmpretrain::resnet/resnet34_8xb32_in1k.py', 'mmpretrain::resnet/resnet18_8xb32_in1k.py',
        'backbone.layer4', 7e-5, 0.1),
    'mlp/cls/mlp_backbone_resnet50_mobilenet-v1_8xb32_in1k.py': Recipe(
        'mmpretrain::resnet/resnet50_8xb32_in1k.py', 'MobileNetV1', 'backbone', 7e-5, 0.1),
    'mlp/det/mlp_neck_retinanet_x101_retinanet_r50_fpn_2x_coco.py': Recipe(
        'mmdet::retinanet/retinanet_x101-64x4d_fpn_1x_coco.py',
        'mmdet::retinanet/retinanet_r50_fpn_2x_coco.py', 'neck', 2e-5, 0.01,
        ('neck', 'bbox_head')),
    'mlp/det/mlp_neck_cascade-mask-rcnn_x101-dcn_faster-rcnn_r50_fpn_2x_coco.py': Recipe(
        X101_DCN, 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_2x_coco.py', 'neck', 5e-7, 0.02),
    'mlp/det/mlp_neck_reppoints_x101-dcn_reppoints_r50_fpn_2x_coco.py': Recipe(
        'mmdet::reppoints/reppoints-moment_x101-dconv-c3-c5_fpn-gn_head-gn_2x_coco.py',
        'mmdet::reppoints/reppoints-moment_r50_fpn-gn_head-gn_2x_coco.py', 'neck', 2e-5, 0.01,
        ('neck', 'bbox_head')),
    'mlp/det/mlp_neck_cascade-mask-rcnn_x101-dcn_mask-rcnn_r50_fpn_2x_coco.py': Recipe(
        X101_DCN, 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_2x_coco.py', 'neck', 5e-7, 0.02),
    f'mlp/seg/mlp_backbone_pspnet_r101-d8_pspnet_r18-d8_{CITYSCAPES}': Recipe(
        R101, 'mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py',
        'backbone.layer4', 2e-5, 0.01),
    f'mlp/seg/mlp_backbone_pspnet_r101-d8_deeplabv3_r18-d8_{CITYSCAPES}': Recipe(
        R101, 'mmseg::deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py',
        'backbone.layer4', 1e-5, 0.01),
}
RETINANET_1X = 'neck_retinanet_x101_retinanet_r50_fpn_1x_coco.py'
DEEPLAB = f'backbone_pspnet_r101-d8_deeplabv3_r18-d8_{CITYSCAPES}'
# connector; all else is that of the config named mlp_ instead of mlp-...
ABLATIONS = {
    'mlp/cls/mlp-identity_backbone_resnet34_resnet18_8xb32_in1k.py': dict(type='IdentityConnector'),
    'mlp/cls/mlp-linear_backbone_resnet34_resnet18_8xb32_in1k.py': dict(type='LinearConnector'),
    f'mlp/det/mlp-identity_{RETINANET_1X}': dict(type='IdentityConnector'),
    f'mlp/det/mlp-linear_{RETINANET_1X}': dict(type='LinearConnector'),
    f'mlp/seg/mlp-linear_{DEEPLAB}': dict(type='LinearConnector'),
    f'mlp/seg/mlp-conv3x3_{DEEPLAB}': dict(type='Conv3x3Connector'),
    f'mlp/seg/mlp-deformable_{DEEPLAB}': dict(type='DeformableConnector'),
    f'mlp/seg/mlp-non-local_{DEEPLAB}': dict(type='NonLocalConnector'),
    f'mlp/seg/mlp-deeper_{DEEPLAB}': dict(type='MLPConnector', num_hidden=2),
    f'mlp/seg/mlp-wider_{DEEPLAB}': dict(type='MLPConnector', hidden_channels=2 * 2048),
}
SHORTER = f'mlp/det/mlp_{RETINANET_1X}'  # Table 1's schedule
OURS = 'mlp/cls/mlp_backbone_resnet56_resnet20_1xb64_cifar100.py'  # in no table of the paper
DINOV2 = 'mmpretrain::dinov2/vit-base-p14_dinov2-pre_headless.py'
FASTER_RCNN = 'mlp/det/mlp_backbone_dinov2-vit-b14_faster-rcnn_r50_fpn_1x_coco.py'
PSPNET = f'mlp/seg/mlp_backbone_dinov2-vit-b14_pspnet_r18-d8_{CITYSCAPES}'
# Neither are these, whose teacher is the zoo's best known. Teacher, student, place in the teacher.
OTHERS = {
    'mlp/cls/mlp_backbone_deit-base_deit-small_4xb256_in1k.py': (
        'mmpretrain::deit/deit-base_16xb64_in1k.py', 'mmpretrain::deit/deit-small_4xb256_in1k.py',
        'backbone.ln1'),
    'mlp/det/mlp_neck_dino_swin-l_dino_r50_8xb2-12e_coco.py': (
        'mmdet::dino/dino-5scale_swin-l_8xb2-12e_coco.py',
        'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
        ['neck.convs.1', 'neck.convs.2', 'neck.convs.3', 'neck.extra_convs.0']),
    FASTER_RCNN: (DINOV2, 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 'backbone'),
    PSPNET: (DINOV2, 'mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py', 'backbone'),
}


def only_link(config):
    """The config's one link."""
    links = config.model.distiller.links
    assert len(links) == 1
    return next(iter(links.values()))


def test_every_config_is_in_one_of_the_tables():
    assert NAMES == sorted([*RECIPES, *ABLATIONS, SHORTER, OURS, *OTHERS])


@pytest.mark.parametrize('name', OTHERS)
def test_a_recipe_that_the_paper_does_not_have(name):
    teacher, student, place = OTHERS[name]
    config = load(name)
    assert config.model.architecture == dict(cfg_path=student, pretrained=False)
    assert config.model.teacher_ckpt == get_config(teacher, pretrained=True).model_path
    if teacher != DINOV2:
        assert config.model.teacher == dict(cfg_path=teacher, pretrained=False)
    link = only_link(config)
    assert link.teacher == place and link.connector == dict(type='MLPConnector')
    assert 'not been tuned' in (CONFIGS / name).read_text().replace('\n# ', ' ')


def test_dinov2_is_the_zoos_but_for_the_form_of_its_output():
    zoo = get_config(DINOV2)
    for name in (FASTER_RCNN, PSPNET):
        teacher = load(name).model.teacher.copy()
        assert teacher.pop('_scope_') == 'mmpretrain'
        assert teacher.pop('data_preprocessor') == zoo.data_preprocessor
        assert teacher.backbone.pop('out_type') == 'featmap'
        assert teacher == zoo.model


def test_dinov2_teaches_as_the_other_recipes_of_its_student_are_trained():
    for name, other in ((FASTER_RCNN, 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'),
                        (PSPNET, PSPNET.replace('dinov2-vit-b14', 'pspnet_r101-d8'))):
        config = load(name)
        usual = get_config(other) if '::' in other else load(other)
        for key in ('train_dataloader', 'optim_wrapper', 'param_scheduler', 'train_cfg'):
            assert without_scope(config[key]) == without_scope(usual[key]), key


@pytest.mark.parametrize('name', RECIPES)
def test_recipe(name):
    recipe, config = RECIPES[name], load(name)
    model, link = config.model, only_link(config)
    assert (model._scope_, model.type) == ('mmrazor', 'LeanTeacherDistill')
    assert model.distiller.type == 'LinkDistiller'
    assert model.teacher == dict(cfg_path=recipe.teacher, pretrained=False)
    if recipe.student == 'MobileNetV1':
        assert model.architecture.backbone == dict(type='MobileNetV1')
        assert model.architecture.neck.type == 'GlobalAveragePooling'
        assert model.architecture.head.type == 'LinearClsHead'
        assert model.architecture.head.num_classes == 1000
    else:
        assert model.architecture == dict(cfg_path=recipe.student, pretrained=False)
    assert link.student == recipe.place
    assert link.teacher == ('backbone.layer4' if 'backbone' in recipe.place else recipe.place)
    assert link.connector == dict(type='MLPConnector')
    assert link.loss == dict(type='FeatureL2Loss', loss_weight=recipe.alpha)
    assert tuple(model.get('inherit', ())) == recipe.inherit


@pytest.mark.parametrize('name', RECIPES)
def test_schedule(name):
    config = load(name)
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum) == ('SGD', RECIPES[name].lr, 0.9)
    assert config.train_dataloader.batch_size == (32 if 'cls' in name else 2)
    if 'cls' in name:
        assert config.train_dataloader.dataset.type == 'ImageNet'
        assert config.train_cfg.max_epochs == 100
        schedule = config.param_scheduler
        assert (schedule.milestones, schedule.gamma) == ([30, 60, 90], 0.1)
        assert optimizer.weight_decay == 1e-4
    elif 'det' in name:
        assert config.train_dataloader.dataset.type == 'CocoDataset'
        assert config.train_cfg.max_epochs == 24
        schedule = config.param_scheduler[-1]
        assert (schedule.end, schedule.milestones, schedule.gamma) == (24, [16, 22], 0.1)
        masks = any(step.get('with_mask') for step in config.train_dataloader.dataset.pipeline)
        assert masks == ('mask-rcnn_r50' in name)
        assert ('segm' in config.val_evaluator.metric) == masks
    else:
        assert config.train_dataloader.dataset.type == 'CityscapesDataset'
        assert config.train_cfg.max_iters == config.param_scheduler[0].end == 40000
        crops = [step.crop_size for step in config.train_dataloader.dataset.pipeline
                 if step.type == 'RandomCrop']
        assert crops == [(512, 512)]
        assert config.model.data_preprocessor.size == (512, 512)
        assert optimizer.weight_decay == 5e-4


@pytest.mark.parametrize('name', [name for name in RECIPES if 'det' in name])
def test_every_neck_output_has_its_place_in_both(name):
    model = load(name).model
    for side in (model.architecture, model.teacher):
        assert get_config(side.cfg_path).model.neck.num_outs == 5


@pytest.mark.parametrize('name', [name for name in RECIPES if 'seg' in name])
def test_batch_is_normalised_and_padded_as_the_student_expects(name):
    config = load(name)
    own = get_config(config.model.architecture.cfg_path).model.data_preprocessor
    given = dict(config.model.data_preprocessor, type='SegDataPreProcessor', size=own['size'])
    # mmseg's defaults, which its configs repeat
    assert dict(given, pad_val=0, seg_pad_val=255) == own


@pytest.mark.parametrize('name', ABLATIONS)
def test_ablation_changes_nothing_but_the_connector(name):
    recipe = load(Path(name).with_name(f'mlp_{name.split("_", 1)[1]}'))
    ablation = load(name)
    assert only_link(ablation).connector == ABLATIONS[name]
    only_link(ablation).connector = dict(type='MLPConnector')
    assert ablation.to_dict() == recipe.to_dict()


def test_shorter_schedule_changes_nothing_else():
    config = load(SHORTER)
    longer = load(SHORTER.replace('1x', '2x'))
    assert config.train_cfg.max_epochs == config.param_scheduler[1].end == 12
    assert config.param_scheduler[1].milestones == [8, 11]
    longer.train_cfg.max_epochs = 12
    longer.param_scheduler[1].update(end=12, milestones=[8, 11])
    assert config.to_dict() == longer.to_dict()


def test_stage_outputs_of_the_segmentors_are_512_and_2048_channels_wide():
    model = build_model(load(f'mlp/seg/mlp_{DEEPLAB}'))
    connector, = model.distiller.connectors.values()
    shapes = [tuple(p.shape[:2]) for p in connector.parameters() if p.ndim == 4]
    assert shapes == [(2048, 512), (2048, 2048)]


def test_cifar_is_trained_as_fcfd_is():
    """The rows of docs/results.md differ in nothing but the method."""
    config, fcfd = load(OURS), load(f'fcfd/cls/{OURS[len("mlp/cls/mlp_backbone"):]}'.replace(
        'cls/', 'cls/fcfd'))
    for key in set(fcfd) - {'model', 'custom_hooks', 'find_unused_parameters'}:
        assert config[key] == fcfd[key], key
    for key in ('architecture', 'teacher', 'teacher_ckpt'):
        assert config.model[key] == fcfd.model[key]
    link = only_link(config)
    assert (link.student, link.teacher) == ('backbone.layer3', 'backbone.layer3')
    assert link.connector == dict(type='MLPConnector')
    assert link.loss == dict(type='FeatureL2Loss', loss_weight=1e-3)


@pytest.mark.parametrize('name', sorted({*NAMES} - {OURS, *OTHERS}))
def test_teacher_checkpoint_is_the_zoos_for_that_config(name):
    model = load(name).model
    assert urlparse(model.teacher_ckpt).hostname == 'download.openmmlab.com'
    # the address in the metafile that the library installs
    zoo = get_config(model.teacher.cfg_path, pretrained=True)
    assert model.teacher_ckpt == zoo.model_path


@pytest.mark.parametrize('name', NAMES)
def test_config_fits_on_a_screen(name):
    assert len((CONFIGS / name).read_text().splitlines()) <= 40


def test_metafile_lists_every_config_with_its_models():
    models = {}
    for entry in yaml.safe_load((MLP / 'metafile.yml').read_text())['Models']:
        path = Path(entry['Config'])
        assert path.stem == entry['Name']
        models[str(path.relative_to('configs'))] = entry['Metadata']
    assert sorted(models) == NAMES
    for name, metadata in models.items():
        model = load(name).model
        if name == OURS:  # RepDistiller's networks are in no model zoo
            assert 'Config' not in metadata['Teacher']
            continue
        teacher = OTHERS[name][0] if name in OTHERS else model.teacher.cfg_path
        assert metadata['Teacher']['Config'] == teacher
        assert metadata['Teacher']['Weights'] == model.teacher_ckpt
        assert metadata['Student'].get('Config') == model.architecture.get('cfg_path')


def test_readme_links_to_every_config():
    readme = (MLP / 'README.md').read_text()
    assert [name for name in NAMES if f'({name[len("mlp/"):]})' not in readme] == []
