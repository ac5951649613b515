# CIFAR-100, ResNet-32x4 -> ResNet-8x4. Paper, Table 1: 72.50 -> 76.62 top-1.
# Run, on one GPU: python tools/train.py \
#   configs/fcfd/cls/fcfd_resnet32x4_resnet8x4_1xb64_cifar100.py
# Its steps take 2.1 h on an H100, data loading not counted (docs/performance.md).
_base_ = ['../_base_/cifar100.py', '../../_base_/pairs/cifar100_resnet32x4_resnet8x4.py']

model = _base_.pair
