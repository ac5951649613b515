# Tf-FD on the last three stages: no teacher. The authors' form and weights.
_base_ = '_base_/cls.py'

stages = ['backbone.layer2', 'backbone.layer3', 'backbone.layer4']
model = dict(
    _scope_='mmrazor',
    type='TeacherFreeDistill',
    architecture=_base_.student,
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_intra=dict(
                student=stages, loss=dict(type='TfFDIntraLoss', form='released', loss_weight=8e-4)),
            loss_inter=dict(
                student=stages, loss=dict(type='TfFDInterLoss', form='released',
                                          loss_weight=5e-4)))))
