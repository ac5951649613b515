# CIFAR-100 as CRD trains on it, and Tf-FD on all three stages of a student. A recipe adds the
# backbone and its width.
_base_ = [
    'mmpretrain::_base_/datasets/cifar100_bs16.py',
    'mmpretrain::_base_/schedules/cifar10_bs128.py',
    'mmpretrain::_base_/default_runtime.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

train_dataloader = dict(batch_size=64)
val_dataloader = dict(batch_size=64)
test_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=5e-4))
param_scheduler = dict(milestones=[150, 180, 210])
train_cfg = dict(max_epochs=240)
auto_scale_lr = dict(base_batch_size=64)

normalize = _base_.data_preprocessor
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
        head=dict(type='LinearClsHead', num_classes=100, loss=dict(type='CrossEntropyLoss'))),
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_intra=dict(student=stages, loss=dict(type='TfFDIntraLoss', loss_weight=8e-4)),
            loss_inter=dict(student=stages, loss=dict(type='TfFDInterLoss', loss_weight=5e-4)))))
