# Ablation: intra-layer only, S2. Paper, Table 4: 70.26 top-1 (both 70.62, plain 69.06).
_base_ = './tffd_resnet20_1xb128_cifar100.py'

links = dict(
    _delete_=True,
    loss_intra=dict(
        student=['backbone.layer1'],
        loss=dict(type='TfFDIntraLoss', form='released', loss_weight=8e-4)))
model = dict(distiller=dict(links=links))
custom_hooks = [dict(type='mmrazor.LossWeightHook', loss='loss_intra', phases=_base_.ramp)]
