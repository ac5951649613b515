# CIFAR-100, WRN-40-2 -> ShuffleNetV1. Paper, Table 1: 70.50 -> 77.99 top-1.
# Run, on one GPU: python tools/train.py \
#   configs/fcfd/cls/fcfd_wrn-40-2_shufflenet-v1_1xb64_cifar100.py
_base_ = '../_base_/cifar100.py'

optim_wrapper = dict(optimizer=dict(lr=0.01))
model = dict(
    architecture=dict(
        backbone=dict(type='CIFARShuffleNetV1'),
        head=dict(in_channels=960)),
    teacher=dict(
        backbone=dict(type='CIFARWideResNet', depth=40, widen_factor=2),
        head=dict(in_channels=128)),
    teacher_ckpt='checkpoints/cifar100/wrn_40_2.pth')
