# CIFAR-100, ResNet-56 -> ResNet-20.
pair = dict(
    architecture=dict(
        backbone=dict(type='CIFARResNet', depth=20),
        head=dict(in_channels=64)),
    teacher=dict(
        backbone=dict(type='CIFARResNet', depth=56),
        head=dict(in_channels=64)),
    teacher_ckpt='checkpoints/cifar100/resnet56.pth')
