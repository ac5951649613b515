# Table 9: both networks are trained from scratch.
_base_ = './fcfd_resnet32x4_resnet8x4_1xb64_cifar100.py'

model = dict(
    type='FCFDOnline',
    teacher_ckpt=None,
    random_teacher=True,
    loss_teacher_kd=dict(type='KLDivergence', tau=4))
