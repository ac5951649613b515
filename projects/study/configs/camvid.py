# CamVid: road scenes in 11 classes, from scratch, for no ImageNet weights are at hand. Trained on
# crops of half the size, judged at the full 480x360 on the test split.
_base_ = '_base_/runtime.py'
default_scope = 'mmseg'

custom_imports = dict(
    imports=['mmdistill_ext', 'mmdistill_ext.datasets', 'projects.study.bf16'],
    allow_failed_imports=False)
half, crop, void = (240, 180), (176, 176), 11
pack = dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'pad_shape'))
dataset = dict(
    type='BaseSegDataset',
    data_root='data/camvid',
    img_suffix='.png',
    seg_map_suffix='.png',
    ignore_index=void,
    metainfo=dict(
        classes=('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car',
                 'pedestrian', 'bicyclist'),
        palette=[[128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [60, 40, 222],
                 [128, 128, 0], [192, 128, 128], [64, 64, 128], [64, 0, 128], [64, 64, 0],
                 [0, 128, 192]]))
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        dataset,
        data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train'),
        pipeline=[
            dict(type='LoadOnce', transforms=[
                dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]),
            dict(type='RandomResize', scale=half, ratio_range=(0.75, 1.5), keep_ratio=True),
            dict(type='RandomCrop', crop_size=crop, cat_max_ratio=0.75, ignore_index=void),
            dict(type='RandomFlip', prob=0.5),
            pack
        ]))
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        dataset,
        test_mode=True,
        data_prefix=dict(img_path='img_dir/test', seg_map_path='ann_dir/test'),
        pipeline=[
            dict(type='LoadOnce', transforms=[
                dict(type='LoadImageFromFile'), dict(type='Resize', scale=half),
                dict(type='LoadAnnotations')]),
            pack
        ]))
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'], ignore_index=void)

train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=30)
optim_wrapper = dict(
    type='BFloat16OptimWrapper', optimizer=dict(type='AdamW', lr=4e-3, weight_decay=1e-2))


def network(depth, width):
    norm = dict(type='BN', requires_grad=True)
    return dict(
        _scope_='mmseg',
        type='EncoderDecoder',
        data_preprocessor=dict(
            type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375], bgr_to_rgb=True, size=crop, seg_pad_val=void,
            test_cfg=dict(size_divisor=4)),
        backbone=dict(
            type='ResNetV1c', depth=depth, stem_channels=width, base_channels=width,
            strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), contract_dilation=True, norm_cfg=norm,
            zero_init_residual=False, init_cfg=[]),
        decode_head=dict(
            type='PSPHead', in_channels=8 * width, in_index=3, channels=64, dropout_ratio=0.1,
            num_classes=11, ignore_index=void, norm_cfg=norm, align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True)),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'))


student = network(18, 16)
teacher = weak_teacher = network(34, 16)  # the weak one trains as briefly as the student
model = student
del network, dataset, pack, half
