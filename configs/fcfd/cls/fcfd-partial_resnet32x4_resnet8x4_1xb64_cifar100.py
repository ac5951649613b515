# Table 14: L_func goes through one stage of the teacher only.
# Run, on one GPU: python tools/train.py \
#   configs/fcfd/cls/fcfd-partial_resnet32x4_resnet8x4_1xb64_cifar100.py
_base_ = './fcfd_resnet32x4_resnet8x4_1xb64_cifar100.py'

model = dict(partial=True, s2t_terms='l2')
