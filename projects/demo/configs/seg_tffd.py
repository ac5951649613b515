# Tf-FD on the last three stages: no teacher. A hundredth of the weights for CIFAR: the sums go over
# maps of more elements, and at a tenth nothing is learned beside them.
_base_ = '_base_/seg.py'

stages = ['backbone.layer2', 'backbone.layer3', 'backbone.layer4']
model = dict(
    _scope_='mmrazor',
    type='TeacherFreeDistill',
    architecture=_base_.student,
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_intra=dict(student=stages, loss=dict(type='TfFDIntraLoss', loss_weight=8e-6)),
            loss_inter=dict(student=stages, loss=dict(type='TfFDInterLoss', loss_weight=5e-6)))))
