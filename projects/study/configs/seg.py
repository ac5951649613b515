# Segmentation: which pixels are which digit? 64x64 pixels.
_base_ = '_base_/runtime.py'
default_scope = 'mmseg'

pipeline = [
    dict(
        type='LoadOnce',
        transforms=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]),
    dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'pad_shape'))
]
dataset = dict(
    type='BaseSegDataset',
    data_root='data/study/scenes/cityscapes',
    img_suffix='_leftImg8bit.png',
    seg_map_suffix='_gtFine_labelTrainIds.png',
    metainfo=dict(classes=('background', *'0123456789')),
    pipeline=pipeline)
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        dataset, data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train')))
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        dataset, test_mode=True,
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val')))
del dataset
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])

train_cfg = dict(by_epoch=True, max_epochs=6, val_interval=6)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-2, weight_decay=1e-2))


def network(width):
    norm = dict(type='BN', requires_grad=True)
    return dict(
        _scope_='mmseg',
        type='EncoderDecoder',
        data_preprocessor=dict(
            type='SegDataPreProcessor', mean=[120.] * 3, std=[60.] * 3, bgr_to_rgb=True,
            size=(64, 64)),
        backbone=dict(
            type='ResNetV1c', depth=18, num_stages=3, out_indices=(0, 1, 2), stem_channels=width,
            base_channels=width, strides=(1, 1, 1), dilations=(1, 1, 2), norm_cfg=norm,
            zero_init_residual=False, init_cfg=[]),
        # As many channels in both networks: a transform is not needed there, but may help.
        decode_head=dict(
            type='PSPHead', in_channels=4 * width, in_index=2, channels=24, dropout_ratio=0.,
            num_classes=11, norm_cfg=norm, align_corners=False,
            # Seven pixels out of eight are background; unweighted, nothing else is ever predicted.
            loss_decode=dict(type='CrossEntropyLoss', class_weight=[0.1] + [1.0] * 10)),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'))


student = network(8)
teacher = network(20)
model = student
del network
