# Ablation: intra-layer only, S3. Paper, Table 4: 70.29 top-1 (both 70.62, plain 69.06).
_base_ = './tffd_resnet20_1xb64_cifar100.py'

links = dict(
    _delete_=True,
    loss_intra=dict(
        student=['backbone.layer2'],
        loss=dict(type='TfFDIntraLoss', loss_weight=8e-4)))
model = dict(distiller=dict(links=links))
