# CIFAR-100, ResNet-56 -> ResNet-20. Paper, Table 1: 69.06 -> 71.96 top-1.
_base_ = '../_base_/cifar100.py'

model = dict(
    architecture=dict(
        backbone=dict(type='CIFARResNet', depth=20),
        head=dict(in_channels=64)),
    teacher=dict(
        backbone=dict(type='CIFARResNet', depth=56),
        head=dict(in_channels=64)),
    teacher_ckpt='checkpoints/cifar100/resnet56.pth',
    loss_mse=dict(loss_weight=0.02))
