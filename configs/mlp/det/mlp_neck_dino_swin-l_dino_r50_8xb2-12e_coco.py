# COCO, DINO Swin-L -> DINO R50, 12 epochs. Not in the paper; mmdet's zoo: 57.2 and 49.0 mAP.
# Run, on 8 GPUs: tools/dist_train.sh \
#   configs/mlp/det/mlp_neck_dino_swin-l_dino_r50_8xb2-12e_coco.py 8
# Data, optimizer and schedule are the student's own. The weight is that of the two-stage recipes
# and has not been tuned.
_base_ = [
    'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
    '../../_base_/pairs/coco_dino_swin-l_dino_r50.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

model = dict(
    _base_.pair,
    _delete_=True,
    _scope_='mmrazor',
    type='LeanTeacherDistill',
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_neck=dict(  # strides 8, 16, 32 and 64; the teacher has 4 too
                student=['neck.convs.0', 'neck.convs.1', 'neck.convs.2', 'neck.extra_convs.0'],
                teacher=['neck.convs.1', 'neck.convs.2', 'neck.convs.3', 'neck.extra_convs.0'],
                connector=dict(type='MLPConnector'),
                loss=dict(type='FeatureL2Loss', loss_weight=5e-7)))))
