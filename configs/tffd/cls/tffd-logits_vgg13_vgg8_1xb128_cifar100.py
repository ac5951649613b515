# CIFAR-100, VGG-8, with the logits of VGG-13. Paper, Table 1: 70.36 -> 74.08 top-1.
# Run, on one GPU: python tools/train.py \
#   configs/tffd/cls/tffd-logits_vgg13_vgg8_1xb128_cifar100.py
_base_ = ['../_base_/cifar100_logits.py', '../../_base_/pairs/cifar100_vgg13_vgg8.py']

model = _base_.pair
