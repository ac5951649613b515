# Table 12: all four paths in every iteration.
_base_ = './fcfd_resnet32x4_resnet8x4_1xb64_cifar100.py'

find_unused_parameters = False
model = dict(paths=dict(num='all'))
