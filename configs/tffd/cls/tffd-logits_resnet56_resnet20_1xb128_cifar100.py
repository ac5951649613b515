# CIFAR-100, ResNet-20, with the logits of ResNet-56, whose weights are public; the paper's 71.56 is
# with ResNet-110's.
# Run, on one GPU: python tools/train.py \
#   configs/tffd/cls/tffd-logits_resnet56_resnet20_1xb128_cifar100.py
_base_ = ['../_base_/cifar100_logits.py', '../../_base_/pairs/cifar100_resnet56_resnet20.py']

model = _base_.pair
