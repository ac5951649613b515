# CIFAR-100, WRN-16-2. Paper, Table 1: 73.26 -> 74.33 top-1.
_base_ = '../_base_/cifar100.py'

model = dict(
    architecture=dict(
        backbone=dict(type='CIFARWideResNet', depth=16, widen_factor=2),
        head=dict(in_channels=128)))
