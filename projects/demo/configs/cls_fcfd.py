# FCFD with two of its four paths an iteration.
_base_ = '_base_/cls.py'

find_unused_parameters = True  # the bridges of paths that are not drawn

model = dict(
    _scope_='mmrazor',
    type='FCFDDistill',
    architecture=_base_.student,
    teacher=_base_.teacher,
    teacher_ckpt='work_dirs/demo/teacher/epoch_8.pth',
    paths=dict(num=2, k_min=2),
    loss_kd=dict(type='KLDivergence', tau=4),
    loss_func_kl=dict(type='KLDivergence', tau=4))
