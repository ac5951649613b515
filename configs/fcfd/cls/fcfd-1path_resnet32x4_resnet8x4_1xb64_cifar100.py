# Table 12: one path an iteration.
# Run, on one GPU: python tools/train.py \
#   configs/fcfd/cls/fcfd-1path_resnet32x4_resnet8x4_1xb64_cifar100.py
_base_ = './fcfd_resnet32x4_resnet8x4_1xb64_cifar100.py'

model = dict(paths=dict(num=1))
