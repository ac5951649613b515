# Table 5, row 1: L_kd alone.
_base_ = './fcfd_resnet56_resnet20_1xb64_cifar100.py'

find_unused_parameters = False
model = dict(paths=dict(num=0), appearance=False)
