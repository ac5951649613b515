# Table 4: DKD in the place of every KL, ResNet-32x4 -> ShuffleNetV2.
_base_ = './fcfd_resnet32x4_shufflenet-v2_1xb64_cifar100.py'

model = dict(loss_kd=dict(type='DecoupledKLLoss'), loss_func_kl=dict(type='DecoupledKLLoss'))
