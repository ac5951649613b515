# Channel MLP on the last stage of the backbone, as in the paper's recipes.
_base_ = '_base_/seg.py'

model = dict(
    _scope_='mmrazor',
    type='LeanTeacherDistill',
    architecture=_base_.student,
    teacher=_base_.teacher,
    teacher_ckpt='work_dirs/demo_seg/teacher/epoch_20.pth',
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_stage4=dict(
                student='backbone.layer4',
                teacher='backbone.layer4',
                connector='MLPConnector',
                loss=dict(type='FeatureL2Loss', loss_weight=1e-3)))))
