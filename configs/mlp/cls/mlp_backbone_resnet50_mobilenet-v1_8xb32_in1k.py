# ImageNet-1k, ResNet-50 -> MobileNetV1. Paper, Table 3: 69.21 -> 72.49 top-1.
# Run, on 8 GPUs: tools/dist_train.sh \
#   configs/mlp/cls/mlp_backbone_resnet50_mobilenet-v1_8xb32_in1k.py 8
_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    'mmpretrain::_base_/schedules/imagenet_bs256.py',
    'mmpretrain::_base_/default_runtime.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)
student = dict(
    _scope_='mmpretrain',
    type='ImageClassifier',
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(type='MobileNetV1'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=1024,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1, 5)))
data_preprocessor = None  # student and teacher bring theirs

model = dict(
    _scope_='mmrazor',
    type='LeanTeacherDistill',
    architecture=student,
    teacher=dict(cfg_path='mmpretrain::resnet/resnet50_8xb32_in1k.py', pretrained=False),
    # 76.55 top-1, the paper's teacher
    teacher_ckpt='https://download.openmmlab.com/mmclassification/v0/resnet/resnet50_8xb32_in1k_20210831-ea4938fc.pth',  # noqa: E501
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_stage4=dict(
                student='backbone',
                teacher='backbone.layer4',
                connector=dict(type='MLPConnector'),
                loss=dict(type='FeatureL2Loss', loss_weight=7e-5)))))
