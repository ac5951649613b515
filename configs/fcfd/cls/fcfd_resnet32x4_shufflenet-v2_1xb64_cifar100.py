# CIFAR-100, ResNet-32x4 -> ShuffleNetV2. Paper, Table 1: 71.82 -> 78.18 top-1.
_base_ = '../_base_/cifar100.py'

optim_wrapper = dict(optimizer=dict(lr=0.01))
model = dict(
    architecture=dict(
        backbone=dict(type='CIFARShuffleNetV2'),
        head=dict(in_channels=1024)),
    teacher=dict(
        backbone=dict(type='CIFARResNet', depth='32x4'),
        head=dict(in_channels=256)),
    teacher_ckpt='checkpoints/cifar100/resnet32x4.pth',
    loss_kd=dict(tau=8),
    loss_func_kl=dict(tau=8))
