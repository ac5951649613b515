# CIFAR-100 as the authors of Tf-FD train on it, and Tf-FD in the form of their code on all three
# stages of a student. A recipe adds the backbone and its width.
_base_ = [
    'mmpretrain::_base_/datasets/cifar100_bs16.py',
    'mmpretrain::_base_/schedules/cifar10_bs128.py',
    'mmpretrain::_base_/default_runtime.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

train_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=4, padding_mode='reflect'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs')
]
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=128)
test_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=5e-4, nesterov=True))
param_scheduler = dict(milestones=[150, 180, 210])
train_cfg = dict(max_epochs=240)
auto_scale_lr = dict(base_batch_size=128)

ramp = [dict(begin=0, end=19, start=0.05, stop=1.)]  # min(1, e / 20) for e = 1, 2, ...
custom_hooks = [
    dict(type='mmrazor.LossWeightHook', loss='loss_intra', phases=ramp),
    dict(type='mmrazor.LossWeightHook', loss='loss_inter', phases=ramp)
]

normalize = dict(
    num_classes=100,
    mean=[129.3105, 124.0575, 112.4295],
    std=[68.1615, 65.382, 70.431],
    to_rgb=False)
data_preprocessor = None  # the student brings its own
stages = ['backbone.layer1', 'backbone.layer2', 'backbone.layer3']  # S2, S3, S4 of the paper
model = dict(
    _scope_='mmrazor',
    type='TeacherFreeDistill',
    architecture=dict(
        _scope_='mmpretrain',
        type='ImageClassifier',
        data_preprocessor=normalize,
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead',
            num_classes=100,
            init_cfg=None,  # PyTorch's own, as the authors have it
            loss=dict(type='CrossEntropyLoss'))),
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_intra=dict(
                student=stages, loss=dict(type='TfFDIntraLoss', form='released', loss_weight=8e-4)),
            loss_inter=dict(
                student=stages, loss=dict(type='TfFDInterLoss', form='released',
                                          loss_weight=5e-4)))))
