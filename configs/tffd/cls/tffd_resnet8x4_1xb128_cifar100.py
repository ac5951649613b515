# CIFAR-100, ResNet-8x4. Paper, Table 1: 72.50 -> 73.62 top-1.
_base_ = '../_base_/cifar100.py'

model = dict(
    architecture=dict(
        backbone=dict(type='CIFARResNet', depth='8x4'),
        head=dict(in_channels=256)))
