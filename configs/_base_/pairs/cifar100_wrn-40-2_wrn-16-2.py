# CIFAR-100, WRN-40-2 -> WRN-16-2.
pair = dict(
    architecture=dict(
        backbone=dict(type='CIFARWideResNet', depth=16, widen_factor=2),
        head=dict(in_channels=128)),
    teacher=dict(
        backbone=dict(type='CIFARWideResNet', depth=40, widen_factor=2),
        head=dict(in_channels=128)),
    teacher_ckpt='checkpoints/cifar100/wrn_40_2.pth')
