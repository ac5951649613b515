# ImageNet-1k, ResNet-34 -> ResNet-18. Paper, Table 3: 69.90 -> 71.51 top-1.
# Run, on 8 GPUs: tools/dist_train.sh \
#   configs/mlp/cls/mlp_backbone_resnet34_resnet18_8xb32_in1k.py 8
# Its steps take 2 h on 8 H100s, data loading not counted (docs/performance.md).
_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    'mmpretrain::_base_/schedules/imagenet_bs256.py',
    'mmpretrain::_base_/default_runtime.py', '../../_base_/pairs/in1k_resnet34_resnet18.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)
data_preprocessor = None  # student and teacher bring theirs

model = dict(
    _base_.pair,
    _scope_='mmrazor',
    type='LeanTeacherDistill',
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_stage4=dict(
                student='backbone.layer4',
                teacher='backbone.layer4',
                connector=dict(type='MLPConnector'),
                loss=dict(type='FeatureL2Loss', loss_weight=7e-5)))))
