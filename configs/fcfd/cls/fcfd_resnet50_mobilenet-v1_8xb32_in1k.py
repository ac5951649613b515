# ImageNet-1k, ResNet-50 -> MobileNetV1. Paper, Table 2: 73.26 top-1.
_base_ = '../_base_/imagenet.py'

model = dict(
    architecture=dict(
        _scope_='mmpretrain',
        type='ImageClassifier',
        data_preprocessor=_base_.normalize,
        # PyTorch's own initialisation, written out: mmcv's ConvModule brings another
        backbone=dict(
            type='MobileNetV1',
            init_cfg=dict(
                type='Kaiming', layer='Conv2d', a=5**0.5, mode='fan_in',
                nonlinearity='leaky_relu', distribution='uniform')),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead',
            num_classes=1000,
            in_channels=1024,
            init_cfg=None,
            loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
            topk=(1, 5))),
    teacher=dict(cfg_path='mmpretrain::resnet/resnet50_8xb32_in1k.py', pretrained=False),
    teacher_ckpt='checkpoints/imagenet/resnet50.pth',  # torchvision's resnet50-0676ba61, 76.13
    loss_mse=dict(loss_weight=5.))
