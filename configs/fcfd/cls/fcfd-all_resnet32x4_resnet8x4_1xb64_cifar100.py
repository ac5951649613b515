# Table 12: all four paths in every iteration.
# Run, on one GPU: python tools/train.py \
#   configs/fcfd/cls/fcfd-all_resnet32x4_resnet8x4_1xb64_cifar100.py
# Its steps take 3.1 h on an H100, data loading not counted (docs/performance.md).
_base_ = './fcfd_resnet32x4_resnet8x4_1xb64_cifar100.py'

find_unused_parameters = False
model = dict(paths=dict(num='all'))
