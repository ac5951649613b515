# CIFAR-100, VGG-13 -> VGG-8. Paper, Table 1: 70.36 -> 75.22 top-1.
_base_ = '../_base_/cifar100.py'

model = dict(
    architecture=dict(
        backbone=dict(type='CIFARVGG', depth=8),
        head=dict(  # starts as in RepDistiller
            in_channels=512,
            init_cfg=dict(_delete_=True, type='Normal', layer='Linear', std=0.01))),
    teacher=dict(
        backbone=dict(type='CIFARVGG', depth=13),
        head=dict(in_channels=512)),
    teacher_ckpt='checkpoints/cifar100/vgg13.pth')
