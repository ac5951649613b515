# Table 4: DKD in the place of every KL, ResNet-32x4 -> ResNet-8x4.
_base_ = './fcfd_resnet32x4_resnet8x4_1xb64_cifar100.py'

model = dict(loss_kd=dict(type='DecoupledKLLoss'), loss_func_kl=dict(type='DecoupledKLLoss'))
