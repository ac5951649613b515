# FCFD: both features through both decode heads.
_base_ = '_base_/seg.py'

model = dict(
    _scope_='mmrazor',
    type='FCFDSeg',
    architecture=_base_.student,
    teacher=_base_.teacher,
    teacher_ckpt='work_dirs/demo_seg/teacher/epoch_20.pth')
