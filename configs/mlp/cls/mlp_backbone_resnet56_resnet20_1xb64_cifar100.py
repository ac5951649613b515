# CIFAR-100, ResNet-56 -> ResNet-20, the last stage. The paper has no CIFAR-100: place and alpha are
# ours, alpha to be chosen on 5,000 held-out images (python -m projects.study --data cifar100).
# Run, on one GPU: python tools/train.py \
#   configs/mlp/cls/mlp_backbone_resnet56_resnet20_1xb64_cifar100.py
_base_ = ['../../_base_/cifar100.py', '../../_base_/pairs/cifar100_resnet56_resnet20.py']

model = dict(
    _base_.pair,
    type='LeanTeacherDistill',
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_stage3=dict(
                student='backbone.layer3',
                teacher='backbone.layer3',
                connector=dict(type='MLPConnector'),
                loss=dict(type='FeatureL2Loss', loss_weight=1e-3)))))
