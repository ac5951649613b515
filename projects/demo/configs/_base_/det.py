# Data, schedule and models of the detection demo.
_base_ = 'runtime.py'
default_scope = 'mmdet'

classes = tuple('0123456789')
load = dict(
    type='LoadOnce',
    transforms=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True)
    ])
pack = dict(
    type='PackDetInputs',
    meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
no_resize = dict(type='Resize', scale_factor=1.0)  # it writes the scale_factor that mmdet wants
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoDataset',
        data_root='data/digits/coco',
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        metainfo=dict(classes=classes),
        pipeline=[load, no_resize, pack]))
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        data_root='data/digits/coco',
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        metainfo=dict(classes=classes),
        test_mode=True,
        pipeline=[load, no_resize, pack]))
val_evaluator = dict(
    type='CocoMetric', ann_file='data/digits/coco/annotations/instances_val.json', metric='bbox')
test_dataloader = val_dataloader
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=8)
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=1e-2),
    clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=1, convert_to_iter_based=True)
]


def network(width, channels):
    norm = dict(type='BN', requires_grad=True)
    return dict(
        _scope_='mmdet',
        type='RetinaNet',
        data_preprocessor=dict(
            type='DetDataPreprocessor', mean=[120.] * 3, std=[60.] * 3, bgr_to_rgb=True,
            pad_size_divisor=32),
        backbone=dict(
            type='ResNet', depth=18, stem_channels=width, base_channels=width,
            frozen_stages=-1, norm_cfg=norm, norm_eval=False),
        neck=dict(
            type='FPN', in_channels=[width, 2 * width, 4 * width, 8 * width],
            out_channels=channels, start_level=1, num_outs=3, norm_cfg=norm),
        bbox_head=dict(
            type='RetinaHead', num_classes=10, in_channels=channels, feat_channels=channels,
            stacked_convs=1, norm_cfg=norm,
            anchor_generator=dict(
                type='AnchorGenerator', octave_base_scale=3, scales_per_octave=2,
                ratios=[1.0, 1.6], strides=[8, 16, 32]),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder')),
        train_cfg=dict(
            assigner=dict(
                type='MaxIoUAssigner', pos_iou_thr=.5, neg_iou_thr=.4, min_pos_iou=0),
            sampler=dict(type='PseudoSampler'), allowed_border=-1, pos_weight=-1),
        test_cfg=dict(
            nms_pre=200, min_bbox_size=0, score_thr=.05, nms=dict(type='nms', iou_threshold=.5),
            max_per_img=30))


teacher = network(width=24, channels=48)
student = network(width=8, channels=24)
del network
