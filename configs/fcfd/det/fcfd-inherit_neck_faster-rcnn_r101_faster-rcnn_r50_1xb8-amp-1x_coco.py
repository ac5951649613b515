# COCO, Faster R-CNN R101 -> R50 that starts from the teacher's neck and heads: the paper's Table 7.
# Run, on one GPU: python tools/train.py \
#   configs/fcfd/det/fcfd-inherit_neck_faster-rcnn_r101_faster-rcnn_r50_1xb8-amp-1x_coco.py
_base_ = './fcfd_neck_faster-rcnn_r101_faster-rcnn_r50_1xb8-amp-1x_coco.py'

model = dict(inherit=['neck', 'rpn_head', 'roi_head'])
