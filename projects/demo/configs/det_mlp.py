# Channel MLP on every level of the neck.
_base_ = '_base_/det.py'

model = dict(
    _scope_='mmrazor',
    type='LeanTeacherDistill',
    architecture=_base_.student,
    teacher=_base_.teacher,
    teacher_ckpt='work_dirs/demo_det/teacher/epoch_8.pth',
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_fpn=dict(
                student='neck',
                teacher='neck',
                connector='MLPConnector',
                loss=dict(type='FeatureL2Loss', loss_weight=1e-3)))))
