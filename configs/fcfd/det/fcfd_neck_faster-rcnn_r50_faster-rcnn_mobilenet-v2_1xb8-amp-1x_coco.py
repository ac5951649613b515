# COCO, Faster R-CNN R50 -> MobileNetV2: the paper's Table 3. The student starts from mmdet's
# weights and takes RGB images as they do; the authors' take BGR and are not in mmdet's zoo.
# Run, on one GPU: python tools/train.py \
#   configs/fcfd/det/fcfd_neck_faster-rcnn_r50_faster-rcnn_mobilenet-v2_1xb8-amp-1x_coco.py
_base_ = '../_base_/coco.py'

find_unused_parameters = True  # MobileNetV2 has one layer more, which a classifier reads
model = dict(
    architecture=dict(
        _base_.faster_rcnn,
        data_preprocessor=_base_.rgb,
        backbone=dict(  # trained from the stem on, but for BatchNorm
            type='MobileNetV2',
            out_indices=(1, 2, 4, 6),  # the last ones of strides 4, 8, 16 and 32
            norm_cfg=dict(type='BN', requires_grad=False),
            norm_eval=True,
            init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://mmdet/mobilenet_v2')),
        neck=dict(_base_.faster_rcnn.neck, in_channels=[24, 32, 96, 320])),
    teacher=dict(
        cfg_path='mmdet::faster_rcnn/faster-rcnn_r50-caffe_fpn_ms-3x_coco.py', pretrained=False),
    # 39.9 mAP
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/faster_rcnn_r50_caffe_fpn_mstrain_3x_coco/faster_rcnn_r50_caffe_fpn_mstrain_3x_coco_20210526_095054-1f77628b.pth')  # noqa: E501
