# CIFAR-100, WRN-40-2 -> WRN-16-2. Paper, Table 1: 73.26 -> 76.43 top-1.
# Run, on one GPU: python tools/train.py \
#   configs/fcfd/cls/fcfd_wrn-40-2_wrn-16-2_1xb64_cifar100.py
_base_ = ['../_base_/cifar100.py', '../../_base_/pairs/cifar100_wrn-40-2_wrn-16-2.py']

student = _base_.pair.architecture
head = dict(  # starts as in RepDistiller: PyTorch's weight, no bias
    student.head,
    init_cfg=dict(_delete_=True, type='Uniform', layer='Linear', a=-128**-0.5, b=128**-0.5))
model = dict(
    _base_.pair,
    architecture=dict(student, head=head),
    loss_func_kl=dict(loss_weight=0.2))
