# Table 13: paths change networks after the first stage (the paper's k = 2).
# Run, on one GPU: python tools/train.py \
#   configs/fcfd/cls/fcfd-position1_resnet32x4_resnet8x4_1xb64_cifar100.py
_base_ = './fcfd_resnet32x4_resnet8x4_1xb64_cifar100.py'

find_unused_parameters = False
model = dict(paths=dict(positions=[1]))
