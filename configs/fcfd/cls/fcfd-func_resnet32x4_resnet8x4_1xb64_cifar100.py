# Table 5, row 3: L_kd, L_func and L_func', without L_app.
# Run, on one GPU: python tools/train.py \
#   configs/fcfd/cls/fcfd-func_resnet32x4_resnet8x4_1xb64_cifar100.py
_base_ = './fcfd_resnet32x4_resnet8x4_1xb64_cifar100.py'

model = dict(appearance=False)
