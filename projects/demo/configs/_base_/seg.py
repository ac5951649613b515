# Data, schedule and models of the segmentation demo.
_base_ = 'runtime.py'
default_scope = 'mmseg'

load = dict(
    type='LoadOnce', transforms=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')])
pack = dict(
    type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'pad_shape'))
dataset = dict(
    type='BaseSegDataset',
    data_root='data/digits/cityscapes',
    img_suffix='_leftImg8bit.png',
    seg_map_suffix='_gtFine_labelTrainIds.png',
    metainfo=dict(classes=('background', *'0123456789')))
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        dataset,
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        # Small crops: four times as many steps in the time.
        pipeline=[load, dict(type='RandomCrop', crop_size=(64, 64), cat_max_ratio=.9), pack]))
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        dataset, test_mode=True,
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=[load, pack]))
del dataset
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_dataloader = val_dataloader
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=14, val_interval=2)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-2, weight_decay=1e-2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=1, convert_to_iter_based=True)
]


def network(width, channels):
    norm = dict(type='BN', requires_grad=True)
    return dict(
        _scope_='mmseg',
        type='EncoderDecoder',
        data_preprocessor=dict(
            type='SegDataPreProcessor', mean=[120.] * 3, std=[60.] * 3, bgr_to_rgb=True,
            size=(64, 64), test_cfg=dict(size=(128, 128))),
        backbone=dict(
            type='ResNetV1c', depth=18, stem_channels=width, base_channels=width,
            strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), norm_cfg=norm, contract_dilation=True,
            # PyTorch's own initialisation: with mmseg's so narrow networks begin late.
            zero_init_residual=False, init_cfg=[]),
        decode_head=dict(
            type='PSPHead', in_channels=8 * width, in_index=3, channels=channels,
            dropout_ratio=0.1, num_classes=11, norm_cfg=norm, align_corners=False,
            # Most pixels are background; unweighted, nothing else is ever predicted.
            loss_decode=dict(type='CrossEntropyLoss', class_weight=[0.1] + [1.0] * 10)),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'))


teacher = network(width=16, channels=32)
student = network(width=6, channels=16)
del network
