# Tf-FD on the last three stages: no teacher. A tenth of the weights of the paper's CIFAR-100
# recipes, with which so narrow a network stays at chance in eight epochs.
_base_ = '_base_/cls.py'

stages = ['backbone.layer2', 'backbone.layer3', 'backbone.layer4']
model = dict(
    _scope_='mmrazor',
    type='TeacherFreeDistill',
    architecture=_base_.student,
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_intra=dict(student=stages, loss=dict(type='TfFDIntraLoss', loss_weight=8e-5)),
            loss_inter=dict(student=stages, loss=dict(type='TfFDInterLoss', loss_weight=5e-5)))))
