# CIFAR-100, ResNet-20. Paper, Table 1: 69.06 -> 70.62 top-1.
# Run, on one GPU: python tools/train.py \
#   configs/tffd/cls/tffd_resnet20_1xb128_cifar100.py
_base_ = '../_base_/cifar100.py'

model = dict(
    architecture=dict(
        backbone=dict(type='CIFARResNet', depth=20),
        head=dict(in_channels=64)))
