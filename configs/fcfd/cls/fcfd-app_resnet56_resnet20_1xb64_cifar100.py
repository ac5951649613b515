# Table 5, row 2: L_kd and L_app.
# Run, on one GPU: python tools/train.py \
#   configs/fcfd/cls/fcfd-app_resnet56_resnet20_1xb64_cifar100.py
_base_ = './fcfd_resnet56_resnet20_1xb64_cifar100.py'

find_unused_parameters = False
model = dict(paths=dict(num=0))
