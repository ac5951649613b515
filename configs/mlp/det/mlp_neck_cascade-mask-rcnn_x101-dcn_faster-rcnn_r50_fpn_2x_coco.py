# COCO, Cascade Mask R-CNN ResNeXt-101 32x4d DCN -> Faster R-CNN R50. Paper, Table 5: 38.4 -> 42.3.
# Run, on 8 GPUs: tools/dist_train.sh \
#   configs/mlp/det/mlp_neck_cascade-mask-rcnn_x101-dcn_faster-rcnn_r50_fpn_2x_coco.py 8
_base_ = [
    'mmdet::_base_/datasets/coco_detection.py', 'mmdet::_base_/schedules/schedule_2x.py',
    'mmdet::_base_/default_runtime.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

model = dict(
    _scope_='mmrazor',
    type='LeanTeacherDistill',
    architecture=dict(
        cfg_path='mmdet::faster_rcnn/faster-rcnn_r50_fpn_2x_coco.py', pretrained=False),
    teacher=dict(
        cfg_path='mmdet::dcn/cascade-mask-rcnn_x101-32x4d-dconv-c3-c5_fpn_1x_coco.py',
        pretrained=False),
    # 47.3 box, 41.1 mask mAP: the zoo's only ResNeXt-101 with DCN
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v2.0/dcn/cascade_mask_rcnn_x101_32x4d_fpn_dconv_c3-c5_1x_coco/cascade_mask_rcnn_x101_32x4d_fpn_dconv_c3-c5_1x_coco-e75f90c8.pth',  # noqa: E501
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_fpn=dict(
                student='neck',
                teacher='neck',
                connector=dict(type='MLPConnector'),
                loss=dict(type='FeatureL2Loss', loss_weight=5e-7)))))
