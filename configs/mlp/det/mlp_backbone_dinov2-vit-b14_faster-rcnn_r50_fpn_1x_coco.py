# COCO, DINOv2 ViT-B/14 -> Faster R-CNN R50, 1x. Not in the paper; alone 37.4 mAP in mmdet's zoo.
# Run, on 8 GPUs: tools/dist_train.sh \
#   configs/mlp/det/mlp_backbone_dinov2-vit-b14_faster-rcnn_r50_fpn_1x_coco.py 8
# The weight is that of the two-stage recipes and has not been tuned.
_base_ = [
    'mmdet::_base_/datasets/coco_detection.py', 'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py', '../../_base_/pairs/coco_dinov2_faster-rcnn_r50.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

model = dict(
    _base_.pair,
    _scope_='mmrazor',
    type='LeanTeacherDistill',
    teacher_size=14 / 32,  # a token for each position of layer4
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_dinov2=dict(
                student='backbone.layer4',
                teacher='backbone',
                connector=dict(type='MLPConnector'),
                loss=dict(type='FeatureL2Loss', loss_weight=5e-7)))))
