# The same with the logits of a pretrained teacher, whose KL is warmed up like the rest. A recipe
# adds both backbones, their widths and the teacher's checkpoint, made by
# tools/convert_checkpoint.py.
_base_ = './cifar100.py'

custom_hooks = _base_.custom_hooks + [
    dict(type='mmrazor.LossWeightHook', loss='loss_kd', phases=_base_.ramp)
]
model = dict(
    type='LeanTeacherDistill',
    teacher=dict(
        _scope_='mmpretrain',
        type='ImageClassifier',
        data_preprocessor=_base_.normalize,
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=100, loss=dict(type='CrossEntropyLoss'))),
    distiller=dict(
        links=dict(
            loss_kd=dict(
                student='head.fc', teacher='head.fc', loss=dict(type='KLDivergence', tau=4)))))
