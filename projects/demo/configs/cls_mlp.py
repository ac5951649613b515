# Channel MLP: the last stage's maps, as in the paper's ImageNet recipes.
_base_ = '_base_/cls.py'

model = dict(
    _scope_='mmrazor',
    type='LeanTeacherDistill',
    architecture=_base_.student,
    teacher=_base_.teacher,
    teacher_ckpt='work_dirs/demo/teacher/epoch_8.pth',
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_stage4=dict(
                student='backbone.layer4',
                teacher='backbone.layer4',
                connector='MLPConnector',
                loss=dict(type='FeatureL2Loss', loss_weight=1e-2)))))
