# Data, schedule and models of the classification demo.
_base_ = 'runtime.py'
default_scope = 'mmpretrain'

load = dict(
    type='LoadOnce',
    transforms=[dict(type='LoadImageFromFile'), dict(type='Resize', scale=24)])
train_pipeline = [
    load,
    dict(type='RandomCrop', crop_size=24, padding=2, padding_mode='reflect'),
    dict(type='PackInputs')
]
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    persistent_workers=False,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CustomDataset',
        data_root='data/digits/imagenet',
        data_prefix='train',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=200,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CustomDataset',
        data_root='data/digits/imagenet',
        data_prefix='val',
        pipeline=[load, dict(type='PackInputs')]))
val_evaluator = dict(type='Accuracy', topk=1)
test_dataloader = val_dataloader
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=8)
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=1, convert_to_iter_based=True)
]


def network(channels):
    return dict(
        _scope_='mmpretrain',
        type='ImageClassifier',
        data_preprocessor=dict(
            type='ClsDataPreprocessor', mean=[120.] * 3, std=[60.] * 3, to_rgb=True,
            num_classes=10),
        # PyTorch's own initialisation: with mmpretrain's, which is made for networks ten times as
        # wide, nothing is learnt in the first epochs.
        backbone=dict(
            type='ResNet_CIFAR', depth=18, stem_channels=channels, base_channels=channels,
            zero_init_residual=False, init_cfg=None),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead', num_classes=10, in_channels=8 * channels, init_cfg=None,
            loss=dict(type='CrossEntropyLoss')))


teacher = network(16)
student = network(4)
del network
