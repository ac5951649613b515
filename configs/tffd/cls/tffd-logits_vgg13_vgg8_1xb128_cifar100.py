# CIFAR-100, VGG-8, with the logits of VGG-13. Paper, Table 1: 70.36 -> 74.08 top-1.
_base_ = '../_base_/cifar100_logits.py'

model = dict(
    architecture=dict(
        backbone=dict(type='CIFARVGG', depth=8),
        head=dict(in_channels=512)),
    teacher=dict(
        backbone=dict(type='CIFARVGG', depth=13),
        head=dict(in_channels=512)),
    teacher_ckpt='checkpoints/cifar100/vgg13.pth')
