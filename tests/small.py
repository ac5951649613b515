"""Small real models of the three libraries, and batches for them."""
import copy

import torch
from mmengine.config import ConfigDict
from mmrazor.registry import MODELS

CLS = dict(
    _scope_='mmpretrain',
    type='ImageClassifier',
    data_preprocessor=dict(type='ClsDataPreprocessor', mean=[120.] * 3, std=[60.] * 3),
    backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8, num_stages=4,
                  out_indices=(3,), init_cfg=None),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=5, in_channels=64,
              loss=dict(type='CrossEntropyLoss')))

SEG = dict(
    _scope_='mmseg',
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[120.] * 3, std=[60.] * 3,
                           size=(64, 64)),
    backbone=dict(type='ResNetV1c', depth=18, base_channels=8, stem_channels=8,
                  dilations=(1, 1, 2, 4), strides=(1, 2, 1, 1), out_indices=(0, 1, 2, 3),
                  norm_cfg=dict(type='BN', requires_grad=True)),
    decode_head=dict(type='PSPHead', in_channels=64, in_index=3, channels=16, num_classes=4,
                     dropout_ratio=0., norm_cfg=dict(type='BN', requires_grad=True),
                     loss_decode=dict(type='CrossEntropyLoss')),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))

DET = dict(
    _scope_='mmdet',
    type='RetinaNet',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[120.] * 3, std=[60.] * 3,
                           pad_size_divisor=32),
    backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8,
                  norm_cfg=dict(type='BN', requires_grad=True), frozen_stages=-1, norm_eval=False),
    neck=dict(type='FPN', in_channels=[8, 16, 32, 64], out_channels=16, start_level=1,
              add_extra_convs='on_input', num_outs=5),
    bbox_head=dict(
        type='RetinaHead', num_classes=4, in_channels=16, feat_channels=16, stacked_convs=1,
        anchor_generator=dict(type='AnchorGenerator', octave_base_scale=4, scales_per_octave=1,
                              ratios=[1.], strides=[8, 16, 32, 64, 128]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder')),
    train_cfg=dict(
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=.5, neg_iou_thr=.4, min_pos_iou=0),
        sampler=dict(type='PseudoSampler'), allowed_border=-1, pos_weight=-1),
    test_cfg=dict(nms_pre=100, score_thr=.05, nms=dict(type='nms', iou_threshold=.5),
                  max_per_img=10))

MODELS_OF = dict(cls=CLS, seg=SEG, det=DET)


def model_config(task: str, width: int = 8) -> dict:
    """Config of a small model; ``width`` is the backbone's base number of channels."""
    config = copy.deepcopy(MODELS_OF[task])
    config['backbone'].update(base_channels=width, stem_channels=width)
    if task == 'det':
        config['neck'].update(in_channels=[width * k for k in (1, 2, 4, 8)])
    else:
        config['head' if task == 'cls' else 'decode_head']['in_channels'] = width * 8
    return config


def build(config: dict):
    """Build through MMRazor's registry, as the runner does."""
    import mmdistill_ext  # noqa: F401
    config = ConfigDict(copy.deepcopy(config))
    config.setdefault('_scope_', 'mmrazor')  # as in configs, whose default scope is another
    return MODELS.build(config)


def batch(task: str, images: int = 2, size: int = 64) -> dict:
    """What a dataloader gives: a list of uint8 images and their data samples."""
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randint(0, 256, (3, size, size), generator=generator, dtype=torch.uint8)
              for _ in range(images)]
    return dict(inputs=inputs, data_samples=[_sample(task, size, i) for i in range(images)])


def _sample(task: str, size: int, index: int):
    from mmengine.structures import InstanceData, PixelData
    if task == 'cls':
        from mmpretrain.structures import DataSample
        return DataSample().set_gt_label(index % 5)
    shape = dict(img_shape=(size, size), ori_shape=(size, size), pad_shape=(size, size),
                 batch_input_shape=(size, size), scale_factor=(1., 1.), img_path=f'{index}.png')
    if task == 'seg':
        from mmseg.structures import SegDataSample
        sample = SegDataSample(metainfo=shape)
        labels = torch.arange(size * size).reshape(1, size, size) // 7 % 4
        sample.gt_sem_seg = PixelData(data=labels)
        return sample
    from mmdet.structures import DetDataSample
    sample = DetDataSample(metainfo=shape)
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[4., 4., 40., 40.], [20., 10., 60., 50.]]),
        labels=torch.tensor([0, 3]))
    sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
    return sample
