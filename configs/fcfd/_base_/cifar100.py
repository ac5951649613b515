# FCFD on CIFAR-100 with two of the four paths an iteration.
_base_ = '../../_base_/cifar100.py'

custom_hooks = [
    dict(
        type='mmrazor.LossWeightHook',
        loss='loss_mse',
        phases=[dict(begin=0, end=19, start=0.05, stop=1.)])
]
find_unused_parameters = True  # the bridges of paths that are not drawn

model = dict(
    type='FCFDDistill',
    paths=dict(num=2),
    loss_kd=dict(type='KLDivergence', tau=4),
    loss_func_kl=dict(type='KLDivergence', tau=4),
    loss_mse=dict(type='FeatureMSELoss', loss_weight=5.))
