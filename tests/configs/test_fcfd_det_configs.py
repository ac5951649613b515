"""configs/fcfd/{det,seg} against the recipes of the paper, written down here a second time."""
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlparse

import pytest
import yaml
from mmengine.hub import get_config

from .tiny import CONFIGS, load

FCFD = CONFIGS / 'fcfd'
NAMES = sorted(str(path.relative_to(FCFD)) for part in ('det', 'seg')
               for path in (FCFD / part).glob('*.py'))
CITYSCAPES = '8xb2-40k_cityscapes-512x512.py'
FASTER = 'mmdet::faster_rcnn/faster-rcnn_'
ALL = ('neck', 'rpn_head', 'roi_head')


class Recipe(NamedTuple):
    """One row of the table."""
    kind: str
    teacher: str
    student: str  # a config, or the backbone
    images: int  # a GPU
    lr: float
    amp: bool = False
    inherit: tuple = ()


def paper(teacher, student, inherit=()):
    return Recipe('FCFDRoI', f'{FASTER}{teacher}_fpn_ms-3x_coco.py', student, 8, .01, True, inherit)


def table8(inherit=()):
    return Recipe('FCFDRoI', f'{FASTER}r101_fpn_2x_coco.py', f'{FASTER}r50_fpn_2x_coco.py', 2, .02,
                  inherit=inherit)


R101_R50 = 'neck_faster-rcnn_r101_faster-rcnn_r50'
ONE_STAGE = ('neck', 'bbox_head')
PSPNET = 'mmseg::pspnet/pspnet_r101-d8_4xb2-40k_cityscapes-512x1024.py'
RECIPES = {
    'det/fcfd_neck_faster-rcnn_r101_faster-rcnn_r18_1xb8-amp-1x_coco.py': paper('r101', 'R18'),
    f'det/fcfd_{R101_R50}_1xb8-amp-1x_coco.py': paper('r101', f'{FASTER}r50_fpn_1x_coco.py'),
    f'det/fcfd-inherit_{R101_R50}_1xb8-amp-1x_coco.py': paper(
        'r101', f'{FASTER}r50_fpn_1x_coco.py', ALL),
    'det/fcfd_neck_faster-rcnn_r50_faster-rcnn_mobilenet-v2_1xb8-amp-1x_coco.py': paper(
        'r50', 'MobileNetV2'),
    f'det/fcfd_{R101_R50}_8xb2-2x_coco.py': table8(),
    f'det/fcfd-inherit_{R101_R50}_8xb2-2x_coco.py': table8(ALL),
    'det/fcfd_neck_retinanet_x101_retinanet_r50_fpn_2x_coco.py': Recipe(
        'FCFDDense', 'mmdet::retinanet/retinanet_x101-64x4d_fpn_1x_coco.py',
        'mmdet::retinanet/retinanet_r50_fpn_2x_coco.py', 2, .01, inherit=ONE_STAGE),
    'det/fcfd_neck_reppoints_x101-dcn_reppoints_r50_fpn_2x_coco.py': Recipe(
        'FCFDDense', 'mmdet::reppoints/reppoints-moment_x101-dconv-c3-c5_fpn-gn_head-gn_2x_coco.py',
        'mmdet::reppoints/reppoints-moment_r50_fpn-gn_head-gn_2x_coco.py', 2, .01,
        inherit=ONE_STAGE),
    f'seg/fcfd_backbone_pspnet_r101-d8_pspnet_r18-d8_{CITYSCAPES}': Recipe(
        'FCFDSeg', PSPNET, 'mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py', 2, .01),
    f'seg/fcfd_backbone_pspnet_r101-d8_deeplabv3_r18-d8_{CITYSCAPES}': Recipe(
        'FCFDSeg', PSPNET, 'mmseg::deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py', 2,
        .01),
}


def test_every_config_is_in_the_table():
    assert NAMES == sorted(RECIPES)


@pytest.mark.parametrize('name', RECIPES)
def test_models(name):
    recipe, model = RECIPES[name], load(f'fcfd/{name}').model
    assert (model._scope_, model.type) == ('mmrazor', recipe.kind)
    assert model.teacher == dict(cfg_path=recipe.teacher, pretrained=False)
    assert tuple(model.get('inherit', ())) == recipe.inherit
    # all weights are the losses' own, which are 1
    assert not {'loss_func', 'loss_app', 'distiller', 'teacher_norm_eval'} & model.keys()
    if '::' in recipe.student:
        assert model.architecture == dict(cfg_path=recipe.student, pretrained=False)
        return
    student = model.architecture
    usual = get_config(f'{FASTER}r50_fpn_1x_coco.py').model
    channels = dict(R18=[64, 128, 256, 512], MobileNetV2=[24, 32, 96, 320])[recipe.student]
    assert student.neck == dict(usual.neck, in_channels=channels)
    assert student.backbone.get('depth', student.backbone.type) in (18, 'MobileNetV2')
    assert {k: v for k, v in student.items() if k not in ('backbone', 'neck', '_scope_')} == {
        k: v for k, v in usual.items() if k not in ('backbone', 'neck')}


@pytest.mark.parametrize('name', RECIPES)
def test_schedule(name):
    recipe, config = RECIPES[name], load(f'fcfd/{name}')
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum) == ('SGD', recipe.lr, .9)
    assert (config.optim_wrapper.type == 'AmpOptimWrapper') == recipe.amp
    assert config.train_dataloader.batch_size == recipe.images
    if name.startswith('seg'):
        assert config.train_dataloader.dataset.type == 'CityscapesDataset'
        assert config.train_cfg.max_iters == 40000
        assert config.model.data_preprocessor.size == (512, 512)
        return
    assert config.train_dataloader.dataset.type == 'CocoDataset'
    epochs, milestones = (12, [8, 11]) if '1x' in name.split('_')[-2] else (24, [16, 22])
    assert config.train_cfg.max_epochs == config.param_scheduler[-1].end == epochs
    assert config.param_scheduler[-1].milestones == milestones
    assert config.auto_scale_lr.base_batch_size == (8 if recipe.images == 8 else 16)


@pytest.mark.parametrize('name', RECIPES)
def test_teacher_checkpoint_is_the_zoos_for_that_config(name):
    model = load(f'fcfd/{name}').model
    assert urlparse(model.teacher_ckpt).hostname == 'download.openmmlab.com'
    # the address in the metafile that the library installs
    assert model.teacher_ckpt == get_config(model.teacher.cfg_path, pretrained=True).model_path


@pytest.mark.parametrize('name', RECIPES)
def test_config_fits_on_a_screen(name):
    assert len((FCFD / name).read_text().splitlines()) <= 40


def test_metafiles_list_every_config_with_its_models():
    models = {}
    for part in ('det', 'seg'):
        for entry in yaml.safe_load((FCFD / part / 'metafile.yml').read_text())['Models']:
            models[f'{part}/{Path(entry["Config"]).name}'] = entry['Metadata']
    assert sorted(models) == NAMES
    for name, metadata in models.items():
        model = load(f'fcfd/{name}').model
        assert metadata['Teacher']['Config'] == model.teacher.cfg_path
        assert metadata['Teacher']['Weights'] == model.teacher_ckpt
        assert metadata['Student'].get('Config') == model.architecture.get('cfg_path')


@pytest.mark.parametrize('part', ['det', 'seg'])
def test_readme_links_to_every_config(part):
    readme = (FCFD / part / 'README.md').read_text()
    assert [name for name in NAMES
            if name.startswith(part) and f'({name[len(part) + 1:]})' not in readme] == []
