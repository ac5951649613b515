# FCFD: both features through both dense heads.
_base_ = '_base_/det.py'

model = dict(
    _scope_='mmrazor',
    type='FCFDDense',
    architecture=_base_.student,
    teacher=_base_.teacher,
    teacher_ckpt='work_dirs/demo_det/teacher/epoch_8.pth')
