# CIFAR-100 as CRD trains on it, and FCFD with two of the four paths an iteration. A recipe adds
# both networks and the teacher's checkpoint, made by tools/convert_checkpoint.py.
_base_ = [
    'mmpretrain::_base_/datasets/cifar100_bs16.py',
    'mmpretrain::_base_/schedules/cifar10_bs128.py',
    'mmpretrain::_base_/default_runtime.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

train_dataloader = dict(batch_size=64)
val_dataloader = dict(batch_size=64)
test_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=0.05, weight_decay=5e-4, nesterov=True))
param_scheduler = dict(milestones=[150, 180, 210])
train_cfg = dict(max_epochs=240)
auto_scale_lr = dict(base_batch_size=64)
custom_hooks = [
    dict(
        type='mmrazor.LossWeightHook',
        loss='loss_mse',
        phases=[dict(begin=0, end=19, start=0.05, stop=1.)])
]
find_unused_parameters = True  # the bridges of paths that are not drawn

# what RepDistiller trained the teachers on
normalize = dict(
    num_classes=100,
    mean=[129.3105, 124.1085, 112.404],
    std=[68.2125, 65.4075, 70.4055],
    to_rgb=False)
data_preprocessor = None  # student and teacher bring theirs
network = dict(
    _scope_='mmpretrain',
    type='ImageClassifier',
    data_preprocessor=normalize,
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        init_cfg=None,  # PyTorch's own, as in RepDistiller's ResNets and ShuffleNets
        loss=dict(type='CrossEntropyLoss')))
model = dict(
    _scope_='mmrazor',
    type='FCFDDistill',
    architecture=network,
    teacher=network,
    paths=dict(num=2),
    loss_kd=dict(type='KLDivergence', tau=4),
    loss_func_kl=dict(type='KLDivergence', tau=4),
    loss_mse=dict(type='FeatureMSELoss', loss_weight=5.))
