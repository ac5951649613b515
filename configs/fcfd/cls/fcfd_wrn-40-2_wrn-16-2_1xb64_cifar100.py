# CIFAR-100, WRN-40-2 -> WRN-16-2. Paper, Table 1: 73.26 -> 76.43 top-1.
_base_ = '../_base_/cifar100.py'

model = dict(
    architecture=dict(
        backbone=dict(type='CIFARWideResNet', depth=16, widen_factor=2),
        head=dict(  # starts as in RepDistiller: PyTorch's weight, no bias
            in_channels=128,
            init_cfg=dict(
                _delete_=True, type='Uniform', layer='Linear', a=-128**-0.5, b=128**-0.5))),
    teacher=dict(
        backbone=dict(type='CIFARWideResNet', depth=40, widen_factor=2),
        head=dict(in_channels=128)),
    teacher_ckpt='checkpoints/cifar100/wrn_40_2.pth',
    loss_func_kl=dict(loss_weight=0.2))
