# CIFAR-100, ResNet-32, with the logits of ResNet-110. Paper, Table 1: 71.14 -> 73.68 top-1.
_base_ = '../_base_/cifar100_logits.py'

model = dict(
    architecture=dict(
        backbone=dict(type='CIFARResNet', depth=32),
        head=dict(in_channels=64)),
    teacher=dict(
        backbone=dict(type='CIFARResNet', depth=110),
        head=dict(in_channels=64)),
    teacher_ckpt='checkpoints/cifar100/resnet110.pth')
