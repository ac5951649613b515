# ImageNet-1k, ResNet-34 -> ResNet-18. Paper, Table 2: 69.75 -> 72.25 top-1.
_base_ = '../_base_/imagenet.py'

model = dict(
    architecture=dict(
        _scope_='mmpretrain',
        type='ImageClassifier',
        data_preprocessor=_base_.normalize,
        # no zero-initialised residuals, PyTorch's own classifier: as in torchvision
        backbone=dict(type='ResNet', depth=18, zero_init_residual=False),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead',
            num_classes=1000,
            in_channels=512,
            init_cfg=None,
            loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
            topk=(1, 5))),
    teacher=dict(cfg_path='mmpretrain::resnet/resnet34_8xb32_in1k.py', pretrained=False),
    teacher_ckpt='checkpoints/imagenet/resnet34.pth',  # torchvision's resnet34-b627a593, 73.31
    loss_mse=dict(loss_weight=0.02))
