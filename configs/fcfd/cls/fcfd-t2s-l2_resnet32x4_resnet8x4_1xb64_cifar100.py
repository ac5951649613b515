# Table 10: L_func' with L2 terms too (L_func'-L2), without L_func. It does not help.
# Run, on one GPU: python tools/train.py \
#   configs/fcfd/cls/fcfd-t2s-l2_resnet32x4_resnet8x4_1xb64_cifar100.py
_base_ = './fcfd_resnet32x4_resnet8x4_1xb64_cifar100.py'

find_unused_parameters = False
model = dict(paths=dict(directions='t2s'), t2s_terms=['kl', 'l2'])
