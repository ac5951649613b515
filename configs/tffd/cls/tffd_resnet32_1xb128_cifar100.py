# CIFAR-100, ResNet-32. Paper, Table 1: 71.14 -> 72.55 top-1.
_base_ = '../_base_/cifar100.py'

model = dict(
    architecture=dict(
        backbone=dict(type='CIFARResNet', depth=32),
        head=dict(in_channels=64)))
