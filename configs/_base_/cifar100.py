# CIFAR-100 as CRD trains on it: FCFD and what is compared with it. A recipe adds the method, both
# networks and the teacher's checkpoint, made by tools/convert_checkpoint.py.
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
model = dict(_scope_='mmrazor', architecture=network, teacher=network)
