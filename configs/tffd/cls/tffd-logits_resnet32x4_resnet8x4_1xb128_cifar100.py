# CIFAR-100, ResNet-8x4, with the logits of ResNet-32x4. Paper, Table 1: 72.50 -> 75.65 top-1.
_base_ = '../_base_/cifar100_logits.py'

model = dict(
    architecture=dict(
        backbone=dict(type='CIFARResNet', depth='8x4'),
        head=dict(in_channels=256)),
    teacher=dict(
        backbone=dict(type='CIFARResNet', depth='32x4'),
        head=dict(in_channels=256)),
    teacher_ckpt='checkpoints/cifar100/resnet32x4.pth')
