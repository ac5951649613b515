"""OpenMMLab's own datasets and metrics read the three views of the same scenes."""
import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.structures import InstanceData, PixelData

from mmdistill_ext.datasets import SceneSettings, make_data
from mmdistill_ext.datasets.scenes import draw_scene
from mmdistill_ext.datasets.sources import load_sources
from mmdistill_ext.datasets.views import CLASSES

SETTINGS = SceneSettings(train=6, val=8, tune=2)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'digits'
    make_data(root, SETTINGS, progress=False)
    return root


@pytest.fixture(scope='module')
def scenes():
    sources = load_sources('val')
    drawn = [draw_scene(sources, SETTINGS, 'val', index) for index in range(SETTINGS.val)]
    return {f'{scene.photo}_{index:06d}': scene for index, scene in enumerate(drawn)}


@pytest.fixture
def scope():
    """Set a library's scope as its runner would, and put back what was there."""
    before = DefaultScope.get_current_instance()
    yield init_default_scope
    if before is not None:
        init_default_scope(before.scope_name)


@pytest.mark.parametrize('name', ['ImageNet', 'CustomDataset'])
def test_mmpretrain_reads_the_folder(root, scenes, scope, name):
    scope('mmpretrain')
    from mmpretrain.datasets import build_dataset
    dataset = build_dataset(dict(
        type=name, data_root=str(root / 'imagenet'), data_prefix='val',
        metainfo=dict(classes=CLASSES), pipeline=[dict(type='LoadImageFromFile')]))
    assert len(dataset) == sum(len(scene.labels) for scene in scenes.values())
    assert tuple(dataset.CLASSES) == CLASSES
    for sample in dataset:
        assert sample['img'].shape == (32, 32, 3)
        scene, number = sample['img_path'].rsplit('/')[-1][:-4].rsplit('_', 1)
        assert sample['gt_label'] == scenes[scene].labels[int(number)]


def test_the_crop_shows_the_digit_in_its_middle(root, scenes):
    for name, scene in scenes.items():
        for number, (label, (x, y, width, height)) in enumerate(
                zip(scene.labels, scene.boxes())):
            crop = cv2.imread(str(root / 'imagenet/val' / str(label) / f'{name}_{number}.png'))
            middle = scene.image[y + height // 2, x + width // 2, ::-1].astype(int)
            near = crop[14:18, 14:18].reshape(-1, 3)
            assert np.abs(near - middle).sum(-1).min() < 90  # noise and resampling


def coco_dataset(root):
    from mmdet.registry import DATASETS
    return DATASETS.build(dict(
        type='CocoDataset', data_root=str(root / 'coco'), data_prefix=dict(img='val/'),
        ann_file='annotations/instances_val.json', metainfo=dict(classes=CLASSES),
        test_mode=True, pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape'))]))


def test_mmdet_reads_the_json(root, scenes, scope):
    scope('mmdet')
    dataset = coco_dataset(root)
    assert len(dataset) == len(scenes)
    for sample in dataset:
        data = sample['data_samples']
        scene = scenes[data.img_path.rsplit('/')[-1][:-4]]
        assert torch.equal(sample['inputs'].permute(1, 2, 0).flip(-1),
                           torch.from_numpy(scene.image))
        assert data.gt_instances.labels.tolist() == scene.labels
        assert np.array_equal(data.gt_instances.masks.masks, np.stack(scene.masks))
        boxes = np.array(scene.boxes())
        boxes[:, 2:] += boxes[:, :2]
        assert np.array_equal(data.gt_instances.bboxes.tensor.numpy(), boxes)


def test_perfect_predictions_score_one_in_coco_metric(root, scope):
    scope('mmdet')
    from mmdet.registry import METRICS
    dataset = coco_dataset(root)
    metric = METRICS.build(dict(
        type='CocoMetric', ann_file=str(root / 'coco/annotations/instances_val.json'),
        metric=['bbox', 'segm']))
    metric.dataset_meta = dataset.metainfo
    for sample in dataset:
        data = sample['data_samples']
        truth = data.gt_instances
        data.pred_instances = InstanceData(
            bboxes=truth.bboxes.tensor, labels=truth.labels,
            scores=torch.ones(len(truth)), masks=torch.from_numpy(truth.masks.masks).bool())
        metric.process({}, [data.to_dict()])
    result = metric.evaluate(len(dataset))
    assert result['coco/bbox_mAP'] == result['coco/segm_mAP'] == 1


@pytest.mark.parametrize('reader', [
    dict(type='CityscapesDataset'),
    dict(type='BaseSegDataset', img_suffix='_leftImg8bit.png',
         seg_map_suffix='_gtFine_labelTrainIds.png',
         metainfo=dict(classes=('background', *CLASSES)))], ids=lambda reader: reader['type'])
def test_mmseg_reads_the_label_maps(root, scenes, scope, reader):
    scope('mmseg')
    from mmseg.registry import DATASETS, METRICS
    dataset = DATASETS.build(dict(
        reader, data_root=str(root / 'cityscapes'),
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
                  dict(type='PackSegInputs', meta_keys=('img_path',))]))
    metric = METRICS.build(dict(type='IoUMetric'))
    metric.dataset_meta = dataset.metainfo
    assert len(dataset) == len(scenes)
    for sample in dataset:
        data = sample['data_samples']
        scene = scenes[data.img_path.rsplit('/')[-1].removesuffix('_leftImg8bit.png')]
        assert f'/{scene.photo}/' in data.img_path
        expected = np.zeros((128, 128), int)
        for label, mask in zip(scene.labels, scene.masks):
            expected[mask] = label + 1
        assert np.array_equal(data.gt_sem_seg.data[0].numpy(), expected)
        data.pred_sem_seg = PixelData(data=data.gt_sem_seg.data.clone())
        metric.process({}, [data.to_dict()])
    assert metric.evaluate(len(dataset))['mIoU'] == 100


def test_every_split_is_written(root):
    for split, count in dict(train=6, val=8, tune=2).items():
        names = {path.stem for path in (root / 'coco' / split).iterdir()}
        assert len(names) == count
        found = json.loads((root / f'coco/annotations/instances_{split}.json').read_text())
        assert {image['file_name'][:-4] for image in found['images']} == names
        pictures = (root / 'cityscapes/leftImg8bit' / split).rglob('*.png')
        assert {path.stem.removesuffix('_leftImg8bit') for path in pictures} == names
        crops = (root / 'imagenet' / split).rglob('*.png')
        assert {path.stem.rsplit('_', 1)[0] for path in crops} == names
