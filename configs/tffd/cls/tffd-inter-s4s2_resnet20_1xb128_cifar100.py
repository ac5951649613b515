# Ablation: inter-layer only, S4 -> S2. Paper, Table 4: 70.18 top-1 (both 70.62, plain 69.06).
_base_ = './tffd_resnet20_1xb128_cifar100.py'

links = dict(
    _delete_=True,
    loss_inter=dict(
        student=['backbone.layer1', 'backbone.layer3'],
        loss=dict(type='TfFDInterLoss', form='released', loss_weight=5e-4)))
model = dict(distiller=dict(links=links))
custom_hooks = [dict(type='mmrazor.LossWeightHook', loss='loss_inter', phases=_base_.ramp)]
