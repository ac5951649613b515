# CIFAR-100, VGG-8. Paper, Table 1: 70.36 -> 71.62 top-1.
# VGG's first block is the stem, so S2, S3, S4 are its blocks 2 to 4.
_base_ = '../_base_/cifar100.py'

model = dict(
    architecture=dict(
        backbone=dict(type='CIFARVGG', depth=8),
        head=dict(in_channels=512)))
