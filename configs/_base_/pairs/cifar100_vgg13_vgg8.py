# CIFAR-100, VGG-13 -> VGG-8.
pair = dict(
    architecture=dict(
        backbone=dict(type='CIFARVGG', depth=8),
        head=dict(in_channels=512)),
    teacher=dict(
        backbone=dict(type='CIFARVGG', depth=13),
        head=dict(in_channels=512)),
    teacher_ckpt='checkpoints/cifar100/vgg13.pth')
