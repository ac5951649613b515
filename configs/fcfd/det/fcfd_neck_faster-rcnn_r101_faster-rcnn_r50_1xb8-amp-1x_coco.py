# COCO, Faster R-CNN R101 -> R50: the paper's Table 3. Both are caffe-style, as the paper's.
_base_ = '../_base_/coco.py'

model = dict(
    architecture=dict(
        cfg_path='mmdet::faster_rcnn/faster-rcnn_r50-caffe_fpn_ms-3x_coco.py', pretrained=False),
    teacher=_base_.r101,
    teacher_ckpt=_base_.r101_ckpt)
