# CIFAR-100, ResNet-20, with the logits of ResNet-56, whose weights are public; the paper's 71.56 is
# with ResNet-110's.
_base_ = './tffd-logits_resnet110_resnet20_1xb128_cifar100.py'

model = dict(
    teacher=dict(backbone=dict(depth=56)), teacher_ckpt='checkpoints/cifar100/resnet56.pth')
