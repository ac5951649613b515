# CIFAR-100, ResNet-32x4 -> ResNet-8x4.
pair = dict(
    architecture=dict(
        backbone=dict(type='CIFARResNet', depth='8x4'),
        head=dict(in_channels=256)),
    teacher=dict(
        backbone=dict(type='CIFARResNet', depth='32x4'),
        head=dict(in_channels=256)),
    teacher_ckpt='checkpoints/cifar100/resnet32x4.pth')
