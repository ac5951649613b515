# VOC2007's test images, split anew: 20 classes, 320 pixels, from scratch. Figures may be compared
# with each other and with nothing that is published of VOC2007.
_base_ = '_base_/runtime.py'
default_scope = 'mmdet'
from mmdet.datasets import VOCDataset  # noqa: E402

custom_imports = dict(
    imports=['mmdistill_ext', 'mmdistill_ext.datasets', 'projects.study.bf16'],
    allow_failed_imports=False)
size = (320, 320)
load = dict(type='LoadOnce', transforms=[
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=size, keep_ratio=True)])
pack = dict(
    type='PackDetInputs',
    meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
dataset = dict(
    type='CocoDataset',
    data_prefix=dict(img='data/voc2007/images/'),
    metainfo=dict(classes=VOCDataset.METAINFO['classes']))
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        dataset, ann_file='data/study/voc2007/train.json', filter_cfg=dict(filter_empty_gt=True),
        pipeline=[load, dict(type='RandomFlip', prob=0.5), pack]))
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        dataset, ann_file='data/study/voc2007/val.json', test_mode=True, pipeline=[load, pack]))
val_evaluator = dict(type='CocoMetric', ann_file='data/study/voc2007/val.json', metric='bbox')

train_cfg = dict(by_epoch=True, max_epochs=24, val_interval=24)
optim_wrapper = dict(
    type='BFloat16OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-2),
    clip_grad=dict(max_norm=10))


def network(depth, width):
    norm = dict(type='BN', requires_grad=True)
    return dict(
        _scope_='mmdet',
        type='RetinaNet',
        data_preprocessor=dict(
            type='DetDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True, pad_size_divisor=32),
        backbone=dict(
            type='ResNet', depth=depth, stem_channels=width, base_channels=width, frozen_stages=-1,
            norm_cfg=norm, norm_eval=False, zero_init_residual=False, init_cfg=[]),
        neck=dict(
            type='FPN', in_channels=[width, 2 * width, 4 * width, 8 * width], start_level=1,
            out_channels=64, add_extra_convs='on_output', num_outs=5, norm_cfg=norm),
        bbox_head=dict(
            type='RetinaHead', num_classes=20, in_channels=64, feat_channels=64, stacked_convs=2,
            norm_cfg=norm,
            anchor_generator=dict(
                type='AnchorGenerator', octave_base_scale=4, scales_per_octave=3,
                ratios=[0.5, 1.0, 2.0], strides=[8, 16, 32, 64, 128]),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder')),
        train_cfg=dict(
            assigner=dict(
                type='MaxIoUAssigner', pos_iou_thr=.5, neg_iou_thr=.4, min_pos_iou=0,
                ignore_iof_thr=-1),
            sampler=dict(type='PseudoSampler'), allowed_border=-1, pos_weight=-1),
        test_cfg=dict(
            nms_pre=1000, min_bbox_size=0, score_thr=.05, nms=dict(type='nms', iou_threshold=.5),
            max_per_img=100))


student = network(18, 16)
teacher = network(34, 32)
model = student
del network, dataset, load, pack, size, VOCDataset
