# CIFAR-100, WRN-16-2, with the logits of WRN-40-2. Paper, Table 1: 73.26 -> 75.68 top-1.
# Run, on one GPU: python tools/train.py \
#   configs/tffd/cls/tffd-logits_wrn-40-2_wrn-16-2_1xb128_cifar100.py
_base_ = ['../_base_/cifar100_logits.py', '../../_base_/pairs/cifar100_wrn-40-2_wrn-16-2.py']

model = _base_.pair
