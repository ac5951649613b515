# Table 4: DKD in the place of every KL, WRN-40-2 -> WRN-16-2.
_base_ = './fcfd_wrn-40-2_wrn-16-2_1xb64_cifar100.py'

model = dict(loss_kd=dict(type='DecoupledKLLoss'), loss_func_kl=dict(type='DecoupledKLLoss'))
