# CIFAR-100, VGG-13 -> MobileNetV2. Paper, Table 1: 64.60 -> 70.65 top-1.
_base_ = '../_base_/cifar100.py'

optim_wrapper = dict(optimizer=dict(lr=0.01))
model = dict(
    architecture=dict(
        backbone=dict(type='CIFARMobileNetV2', widen_factor=0.5),
        head=dict(  # starts as in RepDistiller
            in_channels=1280,
            init_cfg=dict(_delete_=True, type='Normal', layer='Linear', std=0.01))),
    teacher=dict(
        backbone=dict(type='CIFARVGG', depth=13),
        head=dict(in_channels=512)),
    teacher_ckpt='checkpoints/cifar100/vgg13.pth')
