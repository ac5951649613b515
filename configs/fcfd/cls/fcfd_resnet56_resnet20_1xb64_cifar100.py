# CIFAR-100, ResNet-56 -> ResNet-20. Paper, Table 1: 69.06 -> 71.96 top-1.
# Run, on one GPU: python tools/train.py \
#   configs/fcfd/cls/fcfd_resnet56_resnet20_1xb64_cifar100.py
_base_ = ['../_base_/cifar100.py', '../../_base_/pairs/cifar100_resnet56_resnet20.py']

model = dict(
    _base_.pair,
    loss_mse=dict(loss_weight=0.02))
