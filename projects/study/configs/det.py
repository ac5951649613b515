# Detection: where is which digit? 64x64 pixels.
_base_ = '_base_/runtime.py'
default_scope = 'mmdet'

classes = tuple('0123456789')
pipeline = [
    dict(
        type='LoadOnce',
        transforms=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True)
        ]),
    dict(type='Resize', scale_factor=1.0),  # it writes the scale_factor that mmdet wants
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
]
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoDataset',
        data_root='data/study/scenes/coco',
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        metainfo=dict(classes=classes),
        pipeline=pipeline))
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        data_root='data/study/scenes/coco',
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        metainfo=dict(classes=classes),
        test_mode=True,
        pipeline=pipeline))
val_evaluator = dict(
    type='CocoMetric', ann_file='data/study/scenes/coco/annotations/instances_val.json',
    metric='bbox')

train_cfg = dict(by_epoch=True, max_epochs=6, val_interval=6)
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=5e-3, weight_decay=1e-2),
    clip_grad=dict(max_norm=10))


def network(width):
    norm = dict(type='BN', requires_grad=True)
    return dict(
        _scope_='mmdet',
        type='RetinaNet',
        data_preprocessor=dict(
            type='DetDataPreprocessor', mean=[120.] * 3, std=[60.] * 3, bgr_to_rgb=True,
            pad_size_divisor=32),
        backbone=dict(
            type='ResNet', depth=18, num_stages=3, out_indices=(1, 2), strides=(1, 2, 2),
            dilations=(1, 1, 1), stem_channels=width, base_channels=width, frozen_stages=-1,
            norm_cfg=norm, norm_eval=False, zero_init_residual=False, init_cfg=[]),
        neck=dict(
            type='FPN', in_channels=[2 * width, 4 * width], out_channels=24, num_outs=2,
            norm_cfg=norm),
        bbox_head=dict(
            type='RetinaHead', num_classes=10, in_channels=24, feat_channels=24,
            stacked_convs=1, norm_cfg=norm,
            anchor_generator=dict(
                type='AnchorGenerator', octave_base_scale=3, scales_per_octave=1,
                ratios=[1.0, 1.6], strides=[8, 16]),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder')),
        train_cfg=dict(
            assigner=dict(
                type='MaxIoUAssigner', pos_iou_thr=.5, neg_iou_thr=.4, min_pos_iou=0),
            sampler=dict(type='PseudoSampler'), allowed_border=-1, pos_weight=-1),
        test_cfg=dict(
            nms_pre=100, min_bbox_size=0, score_thr=.05, nms=dict(type='nms', iou_threshold=.5),
            max_per_img=20))


student = network(8)
teacher = network(20)
model = student
del network
