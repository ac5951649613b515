# FCFD beside the channel MLP and Tf-FD, which are links.
_base_ = './fcfd_resnet32x4_resnet8x4_1xb64_cifar100.py'

model = dict(
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_mlp=dict(
                student='backbone.layer3',
                teacher='backbone.layer3',
                connector='MLPConnector',
                loss=dict(type='FeatureL2Loss', loss_weight=7e-5)),
            loss_intra=dict(
                student=['backbone.layer1', 'backbone.layer2', 'backbone.layer3'],
                loss=dict(type='TfFDIntraLoss', form='released', loss_weight=8e-4)))))
