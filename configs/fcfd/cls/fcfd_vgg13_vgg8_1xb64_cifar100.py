# CIFAR-100, VGG-13 -> VGG-8. Paper, Table 1: 70.36 -> 75.22 top-1.
# Run, on one GPU: python tools/train.py \
#   configs/fcfd/cls/fcfd_vgg13_vgg8_1xb64_cifar100.py
_base_ = ['../_base_/cifar100.py', '../../_base_/pairs/cifar100_vgg13_vgg8.py']

student = _base_.pair.architecture
head = dict(  # starts as in RepDistiller
    student.head, init_cfg=dict(_delete_=True, type='Normal', layer='Linear', std=0.01))
model = dict(_base_.pair, architecture=dict(student, head=head))
