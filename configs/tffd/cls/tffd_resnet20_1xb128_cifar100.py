# CIFAR-100, ResNet-20. Paper, Table 1: 69.06 -> 70.62 top-1.
_base_ = '../_base_/cifar100.py'

model = dict(
    architecture=dict(
        backbone=dict(type='CIFARResNet', depth=20),
        head=dict(in_channels=64)))
