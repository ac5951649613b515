# CIFAR-100, WRN-40-2 -> WRN-40-1. Paper, Table 1: 71.98 -> 75.46 top-1.
_base_ = '../_base_/cifar100.py'

model = dict(
    architecture=dict(
        backbone=dict(type='CIFARWideResNet', depth=40, widen_factor=1),
        head=dict(  # starts as in RepDistiller: PyTorch's weight, no bias
            in_channels=64,
            init_cfg=dict(_delete_=True, type='Uniform', layer='Linear', a=-0.125, b=0.125))),
    teacher=dict(
        backbone=dict(type='CIFARWideResNet', depth=40, widen_factor=2),
        head=dict(in_channels=128)),
    teacher_ckpt='checkpoints/cifar100/wrn_40_2.pth')
