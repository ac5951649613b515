# Cityscapes, DINOv2 ViT-B/14 -> PSPNet R18. Not in the paper, which has 69.85 mIoU alone.
# Run, on 8 GPUs: tools/dist_train.sh \
#   configs/mlp/seg/mlp_backbone_dinov2-vit-b14_pspnet_r18-d8_8xb2-40k_cityscapes-512x512.py 8
# The weight has not been tuned.
_base_ = [
    'mmseg::_base_/datasets/cityscapes.py', 'mmseg::_base_/schedules/schedule_40k.py',
    'mmseg::_base_/default_runtime.py', '../../_base_/pairs/cityscapes_dinov2_pspnet_r18.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

train_pipeline = _base_.train_pipeline
train_pipeline[3].update(crop_size=_base_.pair.data_preprocessor.size)  # RandomCrop
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    _base_.pair,
    _scope_='mmrazor',
    type='LeanTeacherDistill',
    teacher_size=14 / 16,  # a token for each 16 x 16 pixels; layer4 has two positions a side there
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_dinov2=dict(
                student='backbone.layer4',
                teacher='backbone',
                resize=True,
                connector=dict(type='MLPConnector'),
                loss=dict(type='FeatureL2Loss', loss_weight=5e-7)))))
