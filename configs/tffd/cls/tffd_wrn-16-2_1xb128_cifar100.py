# CIFAR-100, WRN-16-2. Paper, Table 1: 73.26 -> 74.33 top-1.
# Run, on one GPU: python tools/train.py \
#   configs/tffd/cls/tffd_wrn-16-2_1xb128_cifar100.py
_base_ = '../_base_/cifar100.py'

model = dict(
    architecture=dict(
        backbone=dict(type='CIFARWideResNet', depth=16, widen_factor=2),
        head=dict(in_channels=128)))
