# CIFAR-100, ResNet-8x4, with the logits of ResNet-32x4. Paper, Table 1: 72.50 -> 75.65 top-1.
# Run, on one GPU: python tools/train.py \
#   configs/tffd/cls/tffd-logits_resnet32x4_resnet8x4_1xb128_cifar100.py
_base_ = ['../_base_/cifar100_logits.py', '../../_base_/pairs/cifar100_resnet32x4_resnet8x4.py']

model = _base_.pair
