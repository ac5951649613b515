"""configs/fcfd/{det,seg} against the recipes of the paper, written down here a second time."""
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlparse

import pytest
import yaml
from mmengine.hub import get_config
from torch.nn.modules.batchnorm import _BatchNorm

from .tiny import CONFIGS, build_model, build_optimizer, load

FCFD = CONFIGS / 'fcfd'
NAMES = sorted(str(path.relative_to(FCFD)) for part in ('det', 'seg')
               for path in (FCFD / part).glob('*.py'))
CITYSCAPES = '8xb2-40k_cityscapes-512x512.py'
FASTER = 'mmdet::faster_rcnn/faster-rcnn_'
CAFFE = f'{FASTER}r50-caffe_fpn_ms-3x_coco.py'
BGR = dict(type='DetDataPreprocessor', mean=[103.53, 116.28, 123.675], std=[1., 1., 1.],
           bgr_to_rgb=False, pad_size_divisor=32)
RGB = dict(BGR, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
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
    return Recipe('FCFDRoI', f'{FASTER}{teacher}-caffe_fpn_ms-3x_coco.py', student, 8, .01, True,
                  inherit)


def table8(inherit=()):
    return Recipe('FCFDRoI', f'{FASTER}r101_fpn_2x_coco.py', f'{FASTER}r50_fpn_2x_coco.py', 2, .02,
                  inherit=inherit)


R101_R50 = 'neck_faster-rcnn_r101_faster-rcnn_r50'
ONE_STAGE = ('neck', 'bbox_head')
PSPNET = 'mmseg::pspnet/pspnet_r101-d8_4xb2-40k_cityscapes-512x1024.py'
MIT = '8xb1-160k_cityscapes-1024x1024.py'
SEGFORMER = f'seg/fcfd_backbone_segformer_b2_segformer_b0_{MIT}'
RECIPES = {
    'det/fcfd_neck_faster-rcnn_r101_faster-rcnn_r18_1xb8-amp-1x_coco.py': paper('r101', 'R18'),
    f'det/fcfd_{R101_R50}_1xb8-amp-1x_coco.py': paper('r101', CAFFE),
    f'det/fcfd-inherit_{R101_R50}_1xb8-amp-1x_coco.py': paper(
        'r101', CAFFE, ALL),
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
    'det/fcfd_neck_gfl_r101_gfl_r50_fpn_1x_coco.py': Recipe(
        'FCFDDense', 'mmdet::gfl/gfl_r101_fpn_ms-2x_coco.py', 'mmdet::gfl/gfl_r50_fpn_1x_coco.py',
        2, .01),
    f'seg/fcfd_backbone_pspnet_r101-d8_pspnet_r18-d8_{CITYSCAPES}': Recipe(
        'FCFDSeg', PSPNET, 'mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py', 2, .01),
    f'seg/fcfd_backbone_pspnet_r101-d8_deeplabv3_r18-d8_{CITYSCAPES}': Recipe(
        'FCFDSeg', PSPNET, 'mmseg::deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py', 2,
        .01),
    SEGFORMER: Recipe('FCFDSeg', f'mmseg::segformer/segformer_mit-b2_{MIT}',
                      f'mmseg::segformer/segformer_mit-b0_{MIT}', 1, 6e-5),
}


def test_every_config_is_in_the_table():
    assert NAMES == sorted(RECIPES)


@pytest.mark.parametrize('name', RECIPES)
def test_models(name):
    recipe, model = RECIPES[name], load(f'fcfd/{name}').model
    assert (model._scope_, model.type) == ('mmrazor', recipe.kind)
    if 'r101-caffe' in recipe.teacher:  # mmdet's config, but for the images of its checkpoint
        theirs = get_config(recipe.teacher).model
        assert model.teacher == dict(theirs, data_preprocessor=BGR, _scope_='mmdet')
    else:
        assert model.teacher == dict(cfg_path=recipe.teacher, pretrained=False)
    assert tuple(model.get('inherit', ())) == recipe.inherit
    # all weights are the losses' own, which are 1
    assert not {'loss_func', 'loss_app', 'distiller', 'teacher_norm_eval'} & model.keys()
    if '::' in recipe.student:
        assert model.architecture == dict(cfg_path=recipe.student, pretrained=False)
        return
    student = model.architecture
    usual = get_config(CAFFE).model
    assert student.data_preprocessor == RGB
    assert student.backbone.norm_cfg == dict(type='BN', requires_grad=False)
    assert student.backbone.norm_eval
    assert student.backbone.get('frozen_stages') == dict(R18=1, MobileNetV2=None)[recipe.student]
    channels = dict(R18=[64, 128, 256, 512], MobileNetV2=[24, 32, 96, 320])[recipe.student]
    assert student.neck == dict(usual.neck, in_channels=channels)
    assert student.backbone.get('depth', student.backbone.type) in (18, 'MobileNetV2')
    own = ('backbone', 'neck', 'data_preprocessor', '_scope_')
    assert {k: v for k, v in student.items() if k not in own} == {
        k: v for k, v in usual.items() if k not in own}


@pytest.mark.train  # builds a Faster R-CNN
def test_the_papers_optimizer_decays_all_but_batch_norm():
    config = load(f'fcfd/det/fcfd_{R101_R50}_1xb8-amp-1x_coco.py')
    model = build_model(config)
    decay = {id(group['params'][0]): group['weight_decay']
             for group in build_optimizer(config, model).param_groups if len(group['params']) == 1}
    trained = {name: decay[id(p)] for name, p in model.named_parameters() if p.requires_grad}
    free = {name for name, value in trained.items() if value == 0}
    assert free == {f'bridges.{direction}.{level}.bn.{part}' for part in ('weight', 'bias')
                    for direction, levels in (('s2t', 5), ('t2s', 4)) for level in range(levels)}
    assert set(trained.values()) == {0, 1e-4}
    frozen = {name for name, p in model.student.named_parameters() if not p.requires_grad}
    assert {name.split('.')[1] for name in frozen if 'bn' not in name and 'downsample.1' not in name
            } == {'conv1', 'layer1'}
    assert all(name in frozen for name, module in model.student.named_modules()
               if isinstance(module, _BatchNorm) for name in (f'{name}.weight', f'{name}.bias'))
    own, theirs = (net.data_preprocessor for net in (model.student, model.teacher))
    assert own.std.flatten().tolist() == theirs.std.flatten().tolist() == [1, 1, 1]
    assert own.mean.flatten().tolist() == theirs.mean.flatten().tolist()


@pytest.mark.parametrize('name', RECIPES)
def test_schedule(name):
    recipe, config = RECIPES[name], load(f'fcfd/{name}')
    optimizer = config.optim_wrapper.optimizer
    if name == SEGFORMER:  # mmseg's own but for the model
        theirs = get_config(recipe.student)
        for found, expected in zip(
                (config.optim_wrapper, config.train_cfg, *config.param_scheduler),
                (theirs.optim_wrapper, theirs.train_cfg, *theirs.param_scheduler)):
            assert dict(found, _scope_='mmseg') == dict(expected, _scope_='mmseg')
        assert (optimizer.type, optimizer.lr, config.train_cfg.max_iters) == ('AdamW', 6e-5, 160000)
        assert config.train_dataloader.batch_size == recipe.images
        return
    assert (optimizer.type, optimizer.lr, optimizer.momentum) == ('SGD', recipe.lr, .9)
    assert (config.optim_wrapper.type == 'AmpOptimWrapper') == recipe.amp
    assert config.train_dataloader.batch_size == recipe.images
    if name.startswith('seg'):
        assert config.train_dataloader.dataset.type == 'CityscapesDataset'
        assert config.train_cfg.max_iters == 40000
        assert config.model.data_preprocessor.size == (512, 512)
        return
    assert config.train_dataloader.dataset.type == 'CocoDataset'
    warm_up, steps = config.param_scheduler
    assert (warm_up.type, warm_up.start_factor, warm_up.by_epoch) == ('LinearLR', .001, False)
    assert (steps.type, steps.gamma) == ('MultiStepLR', .1)
    assert config.auto_scale_lr.base_batch_size == (8 if recipe.images == 8 else 16)
    if recipe.amp:  # the paper's
        assert (config.train_cfg.type, config.train_cfg.max_iters) == ('IterBasedTrainLoop', 180000)
        assert (steps.by_epoch, steps.end, steps.milestones) == (False, 180000, [120000, 160000])
        assert warm_up.end == 1000
        resize, = (t for t in config.train_dataloader.dataset.pipeline if 'Resize' in t.type)
        assert resize == dict(type='RandomChoiceResize', keep_ratio=True, scales=[
            (1333, side) for side in range(640, 801, 32)])
        assert optimizer.weight_decay == 1e-4 and not optimizer.get('nesterov')
        assert config.default_hooks.checkpoint.by_epoch is False
        return
    epochs, milestones = (12, [8, 11]) if '_1x_' in name else (24, [16, 22])
    assert config.train_cfg.max_epochs == steps.end == epochs and warm_up.end == 500
    assert steps.by_epoch and steps.milestones == milestones


@pytest.mark.parametrize('name', RECIPES)
def test_teacher_checkpoint_is_the_zoos_for_that_config(name):
    model, teacher = load(f'fcfd/{name}').model, RECIPES[name].teacher
    assert urlparse(model.teacher_ckpt).hostname == 'download.openmmlab.com'
    # the address in the metafile that the library installs
    assert model.teacher_ckpt == get_config(teacher, pretrained=True).model_path


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
        assert metadata['Teacher']['Config'] == RECIPES[name].teacher
        assert metadata['Teacher']['Weights'] == model.teacher_ckpt
        assert metadata['Student'].get('Config') == model.architecture.get('cfg_path')


@pytest.mark.parametrize('part', ['det', 'seg'])
def test_readme_links_to_every_config(part):
    readme = (FCFD / part / 'README.md').read_text()
    assert [name for name in NAMES
            if name.startswith(part) and f'({name[len(part) + 1:]})' not in readme] == []
