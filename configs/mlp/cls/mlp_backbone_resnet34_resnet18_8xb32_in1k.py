# ImageNet-1k, ResNet-34 -> ResNet-18. Paper, Table 3: 69.90 -> 71.51 top-1.
_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    'mmpretrain::_base_/schedules/imagenet_bs256.py',
    'mmpretrain::_base_/default_runtime.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)
data_preprocessor = None  # student and teacher bring theirs

model = dict(
    _scope_='mmrazor',
    type='LeanTeacherDistill',
    architecture=dict(cfg_path='mmpretrain::resnet/resnet18_8xb32_in1k.py', pretrained=False),
    teacher=dict(cfg_path='mmpretrain::resnet/resnet34_8xb32_in1k.py', pretrained=False),
    # 73.62 top-1, the paper's teacher
    teacher_ckpt='https://download.openmmlab.com/mmclassification/v0/resnet/resnet34_8xb32_in1k_20210831-f257d4e6.pth',  # noqa: E501
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_stage4=dict(
                student='backbone.layer4',
                teacher='backbone.layer4',
                connector=dict(type='MLPConnector'),
                loss=dict(type='FeatureL2Loss', loss_weight=7e-5)))))
