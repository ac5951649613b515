# ImageNet-1k, ResNet-34 -> ResNet-18. Paper, Table 2: 69.75 -> 72.25 top-1.
_base_ = '../_base_/imagenet.py'

model = dict(
    architecture=dict(cfg_path='mmpretrain::resnet/resnet18_8xb32_in1k.py', pretrained=False),
    teacher=dict(cfg_path='mmpretrain::resnet/resnet34_8xb32_in1k.py', pretrained=False),
    teacher_ckpt='https://download.openmmlab.com/mmclassification/v0/resnet/resnet34_8xb32_in1k_20210831-f257d4e6.pth',  # noqa: E501
    loss_mse=dict(loss_weight=0.02))
