# Classification: what is the digit in the middle? 12x12 pixels; no augmentation, which at this size
# moves the digit out of the picture.
_base_ = '_base_/runtime.py'
default_scope = 'mmpretrain'

pipeline = [
    dict(
        type='LoadOnce',
        transforms=[dict(type='LoadImageFromFile'), dict(type='Resize', scale=12)]),
    dict(type='PackInputs', meta_keys=())
]
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CustomDataset', data_root='data/study/cls/imagenet', data_prefix='train',
        pipeline=pipeline))
val_dataloader = dict(
    batch_size=400,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CustomDataset', data_root='data/study/cls/imagenet', data_prefix='val',
        pipeline=pipeline))
val_evaluator = dict(type='Accuracy', topk=1)

train_cfg = dict(by_epoch=True, max_epochs=6, val_interval=6)
# The weight decay is the teachers'; the students have what serves the student alone best.
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-2, nesterov=True))


def network(depth, widen):
    return dict(
        _scope_='mmpretrain',
        type='ImageClassifier',
        data_preprocessor=dict(
            type='ClsDataPreprocessor', mean=[120.] * 3, std=[60.] * 3, to_rgb=True,
            num_classes=10),
        # PyTorch's own initialisation: with ours, made for deeper networks, six epochs are too few.
        backbone=dict(
            type='CIFARWideResNet', depth=depth, widen_factor=widen, init_cfg=None),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead', num_classes=10, in_channels=64 * widen, init_cfg=None,
            loss=dict(type='CrossEntropyLoss')))


student = network(10, 1)
teacher = network(10, 2)
deep_teacher = network(22, 1)  # as wide as the student
model = student
del network
