# CIFAR-100, WRN-16-2, with the logits of WRN-40-2. Paper, Table 1: 73.26 -> 75.68 top-1.
_base_ = '../_base_/cifar100_logits.py'

model = dict(
    architecture=dict(
        backbone=dict(type='CIFARWideResNet', depth=16, widen_factor=2),
        head=dict(in_channels=128)),
    teacher=dict(
        backbone=dict(type='CIFARWideResNet', depth=40, widen_factor=2),
        head=dict(in_channels=128)),
    teacher_ckpt='checkpoints/cifar100/wrn_40_2.pth')
