# Table 5, row 5: without L_func, so both paths go from the teacher to the student.
# Run, on one GPU: python tools/train.py \
#   configs/fcfd/cls/fcfd-t2s_resnet32x4_resnet8x4_1xb64_cifar100.py
_base_ = './fcfd_resnet32x4_resnet8x4_1xb64_cifar100.py'

find_unused_parameters = False
model = dict(paths=dict(directions='t2s'))
