# Table 10: L_func of its L2 terms only, without L_func'.
# Run, on one GPU: python tools/train.py \
#   configs/fcfd/cls/fcfd-s2t-l2_resnet32x4_resnet8x4_1xb64_cifar100.py
_base_ = './fcfd_resnet32x4_resnet8x4_1xb64_cifar100.py'

find_unused_parameters = False
model = dict(paths=dict(directions='s2t'), s2t_terms='l2')
