# COCO, Faster R-CNN R101 -> R50 with MMDetection's own schedule: the paper's Table 8.
# Run, on 8 GPUs: tools/dist_train.sh \
#   configs/fcfd/det/fcfd_neck_faster-rcnn_r101_faster-rcnn_r50_8xb2-2x_coco.py 8
_base_ = [
    'mmdet::_base_/datasets/coco_detection.py', 'mmdet::_base_/schedules/schedule_2x.py',
    'mmdet::_base_/default_runtime.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

model = dict(
    _scope_='mmrazor',
    type='FCFDRoI',
    architecture=dict(
        cfg_path='mmdet::faster_rcnn/faster-rcnn_r50_fpn_2x_coco.py', pretrained=False),
    teacher=dict(cfg_path='mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py', pretrained=False),
    # 39.8 mAP
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/faster_rcnn_r101_fpn_2x_coco/faster_rcnn_r101_fpn_2x_coco_bbox_mAP-0.398_20200504_210455-1d2dac9c.pth')  # noqa: E501
