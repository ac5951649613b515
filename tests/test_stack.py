"""What the pinned numpy and opencv must hold: the libraries' own data, metrics and drawing.

OpenMMLab's last releases are older than numpy 2 and opencv 5; each step that recipes, demo and
analysis use is done here for real, on tiny images.
"""
import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.structures import InstanceData, PixelData

SIZE = 64


@pytest.fixture(autouse=True)
def scope():
    """Each library's transforms by their plain names; nothing is left behind."""
    before = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)


@pytest.fixture
def data(tmp_path):
    """A photograph-like image, two objects with boxes and polygons, a label map."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8), (SIZE, SIZE))
    labels = np.zeros((SIZE, SIZE), np.uint8)
    cv2.circle(labels, (20, 20), 12, 1, -1)
    cv2.rectangle(labels, (36, 30), (60, 60), 2, -1)
    annotations = []
    for label in (1, 2):
        outline = cv2.findContours((labels == label).astype(np.uint8), cv2.RETR_EXTERNAL,
                                   cv2.CHAIN_APPROX_SIMPLE)[0][0]
        x, y, w, h = cv2.boundingRect(outline)
        annotations.append(dict(
            id=label, image_id=1, category_id=label, iscrowd=0, area=int(w * h),
            bbox=[x, y, w, h], segmentation=[outline.reshape(-1).tolist()]))
    cv2.imwrite(str(tmp_path / 'a.jpg'), image)
    cv2.imwrite(str(tmp_path / 'a.png'), labels)
    (tmp_path / 'coco.json').write_text(json.dumps(dict(
        images=[dict(id=1, file_name='a.jpg', width=SIZE, height=SIZE)], annotations=annotations,
        categories=[dict(id=1, name='disc'), dict(id=2, name='box')])))
    return tmp_path


DET = [
    dict(type='RandomFlip', prob=1., direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='Resize', scale=(96, 80), keep_ratio=True),
    dict(type='RandomResize', scale=(96, 80), ratio_range=(.5, 2.), keep_ratio=True),
    dict(type='RandomChoiceResize', scales=[(96, 80), (48, 48)], keep_ratio=True),
    dict(type='RandomCrop', crop_size=(48, 48)),
    dict(type='MinIoURandomCrop'),
    dict(type='Expand'),
    dict(type='PhotoMetricDistortion'),
    dict(type='YOLOXHSVRandomAug'),
    dict(type='RandomAffine'),
    dict(type='Rotate', level=5, prob=1.),
    dict(type='ShearX', level=5, prob=1.),
    dict(type='TranslateY', level=5, prob=1.),
    dict(type='RandAugment'),
    dict(type='CutOut', n_holes=2, cutout_shape=(8, 8)),
    dict(type='Pad', size_divisor=32),
    dict(type='CachedMosaic', img_scale=(SIZE, SIZE), max_cached_images=4),
    dict(type='CachedMixUp', img_scale=(SIZE, SIZE), max_cached_images=4),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1), by_mask=True),
]


@pytest.mark.parametrize('transform', DET, ids=lambda t: t['type'])
def test_detection_transform(data, transform):
    from mmdet.datasets import CocoDataset
    init_default_scope('mmdet')
    boxes_only = transform['type'] in ('CachedMosaic', 'CachedMixUp', 'RandomAffine')
    dataset = CocoDataset(
        ann_file=str(data / 'coco.json'), data_prefix=dict(img=str(data)),
        metainfo=dict(classes=('disc', 'box')),
        pipeline=[dict(type='LoadImageFromFile'),
                  dict(type='LoadAnnotations', with_bbox=True, with_mask=not boxes_only),
                  transform, dict(type='PackDetInputs')])
    for seed in range(3):
        np.random.seed(seed)
        out = dataset[0]
        objects = out['data_samples'].gt_instances
        assert out['inputs'].float().std() > 0
        assert objects.bboxes.tensor.isfinite().all() and len(objects.bboxes) == len(objects.labels)
        if not boxes_only:
            assert objects.masks.to_tensor(torch.uint8, 'cpu').shape[0] == len(objects.labels)


def coco_metric(data, boxes, masks, **kwargs):
    from mmdet.evaluation import CocoMetric
    init_default_scope('mmdet')
    metric = CocoMetric(ann_file=str(data / 'coco.json'), metric=['bbox', 'segm'], **kwargs)
    metric.dataset_meta = dict(classes=('disc', 'box'))
    metric.process({}, [dict(
        img_id=1, ori_shape=(SIZE, SIZE),
        pred_instances=dict(bboxes=boxes, labels=torch.tensor([0, 1]), masks=masks,
                            scores=torch.tensor([.9, .8])))])
    return metric.evaluate(size=1)


def truth(data):
    from mmdet.datasets import CocoDataset
    init_default_scope('mmdet')
    out = CocoDataset(
        ann_file=str(data / 'coco.json'), data_prefix=dict(img=str(data)),
        metainfo=dict(classes=('disc', 'box')),
        pipeline=[dict(type='LoadImageFromFile'),
                  dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
                  dict(type='PackDetInputs')])[0]
    objects = out['data_samples'].gt_instances
    return out, objects.bboxes.tensor, objects.masks.to_tensor(torch.bool, 'cpu')


def test_detection_metric(data):
    _, boxes, masks = truth(data)
    perfect = coco_metric(data, boxes, masks)
    assert perfect['coco/bbox_mAP'] == 1 and perfect['coco/segm_mAP'] == 1
    moved = coco_metric(data, boxes + 40, masks.roll(32, -1), classwise=True)
    assert moved['coco/bbox_mAP'] == 0 and moved['coco/segm_mAP'] == 0


def test_detection_drawing(data):
    from mmdet.visualization import DetLocalVisualizer
    out, boxes, masks = truth(data)
    image = np.ascontiguousarray(out['inputs'].permute(1, 2, 0).numpy())
    sample = out['data_samples']
    sample.gt_instances.bboxes = boxes
    sample.pred_instances = InstanceData(bboxes=boxes, labels=torch.tensor([0, 1]), masks=masks,
                                         scores=torch.tensor([.9, .8]))
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = dict(classes=('disc', 'box'), palette=[(255, 0, 0), (0, 255, 0)])
    visualizer.add_datasample('a', image, sample, draw_gt=True, out_file=str(data / 'out.png'))
    drawn = cv2.imread(str(data / 'out.png'))
    assert drawn.shape == (SIZE, 2 * SIZE, 3) and (drawn[:, :SIZE] != image).any()


SEG = [
    dict(type='RandomResize', scale=(96, 80), ratio_range=(.5, 2.), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(48, 48), cat_max_ratio=.75),
    dict(type='RandomFlip', prob=1.),
    dict(type='PhotoMetricDistortion'),
    dict(type='RandomRotate', prob=1., degree=20),
    dict(type='RandomCutOut', prob=1., n_holes=2, cutout_shape=(8, 8), seg_fill_in=255),
    dict(type='CLAHE'),
    dict(type='AdjustGamma'),
    dict(type='Rerange'),
    dict(type='ResizeToMultiple', size_divisor=32),
    dict(type='Resize', scale=(96, 80), keep_ratio=True),
]


@pytest.mark.parametrize('transform', SEG, ids=lambda t: t['type'])
def test_segmentation_transform(data, transform):
    init_default_scope('mmseg')
    import mmseg.datasets  # noqa: F401
    pipeline = Compose([dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), transform,
                        dict(type='PackSegInputs')])
    for seed in range(3):
        np.random.seed(seed)
        out = pipeline(dict(img_path=str(data / 'a.jpg'), seg_map_path=str(data / 'a.png'),
                            reduce_zero_label=False, seg_fields=[], label_map=None))
        labels = out['data_samples'].gt_sem_seg.data
        assert out['inputs'].shape[1:] == labels.shape[1:] and out['inputs'].float().std() > 0
        assert set(labels.unique().tolist()) <= {0, 1, 2, 255}


def test_segmentation_metric_and_drawing(data):
    from mmseg.evaluation import IoUMetric
    from mmseg.structures import SegDataSample
    from mmseg.visualization import SegLocalVisualizer
    init_default_scope('mmseg')
    labels = torch.from_numpy(cv2.imread(str(data / 'a.png'), cv2.IMREAD_GRAYSCALE)).long()[None]
    wrong = torch.where(labels == 2, 1, labels)
    for predicted, expected in ((labels, 100.), (wrong, None)):
        metric = IoUMetric(iou_metrics=['mIoU', 'mDice', 'mFscore'])
        metric.dataset_meta = dict(classes=('ground', 'disc', 'box'))
        metric.process({}, [dict(pred_sem_seg=dict(data=predicted),
                                 gt_sem_seg=dict(data=labels))])
        result = metric.evaluate(size=1)
        disc, box = (labels == 1).sum().item(), (labels == 2).sum().item()
        assert result['mIoU'] == (expected or round(100 * (1 + disc / (disc + box)) / 3, 2))
    sample = SegDataSample(pred_sem_seg=PixelData(data=labels), gt_sem_seg=PixelData(data=labels))
    visualizer = SegLocalVisualizer()
    visualizer.dataset_meta = dict(classes=('ground', 'disc', 'box'),
                                   palette=[[0, 0, 0], [255, 0, 0], [0, 255, 0]])
    image = cv2.imread(str(data / 'a.jpg'))
    visualizer.add_datasample('a', image, sample, out_file=str(data / 'out.png'))
    drawn = cv2.imread(str(data / 'out.png'))
    assert drawn.shape == (SIZE, 2 * SIZE, 3) and (drawn[:, :SIZE] != image).any()


CLS = [
    dict(type='RandomResizedCrop', scale=32),
    dict(type='RandomResizedCrop', scale=32, backend='pillow', interpolation='bicubic'),
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='ResizeEdge', scale=48, edge='short'),
    dict(type='CenterCrop', crop_size=32),
    dict(type='RandomFlip', prob=1.),
    dict(type='AutoAugment', policies='imagenet'),
    dict(type='RandAugment', policies='timm_increasing', num_policies=2, total_level=10,
         magnitude_level=9, magnitude_std=.5, hparams=dict(pad_val=[104, 116, 124])),
    dict(type='ColorJitter', brightness=.4, contrast=.4, saturation=.4, hue=.1),
    dict(type='Lighting', eigval=[55., 4., 1.], eigvec=[[1., 0, 0], [0, 1., 0], [0, 0, 1.]]),
    dict(type='RandomErasing', erase_prob=1.),
    dict(type='RandomGrayscale', prob=1., keep_channels=True),
    dict(type='GaussianBlur', magnitude_range=(.1, 2.), prob=1.),
    dict(type='EfficientNetRandomCrop', scale=32),
]


@pytest.mark.parametrize('transform', CLS, ids=lambda t: t['type'] + t.get('backend', ''))
def test_classification_transform(data, transform):
    init_default_scope('mmpretrain')
    import mmpretrain.datasets  # noqa: F401
    pipeline = Compose([dict(type='LoadImageFromFile'), transform, dict(type='PackInputs')])
    for seed in range(3):
        np.random.seed(seed)
        out = pipeline(dict(img_path=str(data / 'a.jpg'), gt_label=1))
        assert out['inputs'].ndim == 3 and out['inputs'].float().std() > 0
        assert out['data_samples'].gt_label.item() == 1


def test_classification_metrics_mixing_and_drawing(data):
    from mmpretrain.evaluation import Accuracy, ConfusionMatrix, SingleLabelMetric
    from mmpretrain.models.utils.batch_augments import CutMix, Mixup
    from mmpretrain.structures import DataSample
    from mmpretrain.visualization import UniversalVisualizer
    init_default_scope('mmpretrain')
    samples = [DataSample().set_gt_label(i % 3).set_pred_score(torch.eye(3)[i % 2])
               .set_pred_label(i % 2) for i in range(6)]
    for metric, key, expected in ((Accuracy(topk=(1,)), 'accuracy/top1', 100 / 3),
                                  (SingleLabelMetric(), 'single-label/precision', None),
                                  (ConfusionMatrix(), 'confusion_matrix/result', None)):
        metric.process({}, [sample.to_dict() for sample in samples])
        result = metric.evaluate(size=6)[key]
        if expected:
            assert result == pytest.approx(expected)
    assert torch.equal(result, torch.tensor([[1, 1, 0], [1, 1, 0], [1, 1, 0]]))
    for mixing in (Mixup(alpha=.8), CutMix(alpha=1.)):
        mixed, scores = mixing.mix(torch.rand(4, 3, 16, 16), torch.eye(3)[[0, 1, 2, 0]])
        assert mixed.shape == (4, 3, 16, 16) and torch.allclose(scores.sum(1), torch.ones(4))
    visualizer = UniversalVisualizer()
    visualizer.dataset_meta = dict(classes=('a', 'b', 'c'))
    visualizer.visualize_cls(cv2.imread(str(data / 'a.jpg')), samples[0], rescale_factor=4.,
                             out_file=str(data / 'out.png'))
    assert cv2.imread(str(data / 'out.png')).shape == (4 * SIZE, 4 * SIZE, 3)
