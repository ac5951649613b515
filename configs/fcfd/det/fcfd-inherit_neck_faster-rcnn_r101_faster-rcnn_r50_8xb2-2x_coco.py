# COCO, Faster R-CNN R101 -> R50 that starts from the teacher's neck and heads: the paper's Table 8.
# Run, on 8 GPUs: tools/dist_train.sh \
#   configs/fcfd/det/fcfd-inherit_neck_faster-rcnn_r101_faster-rcnn_r50_8xb2-2x_coco.py 8
_base_ = './fcfd_neck_faster-rcnn_r101_faster-rcnn_r50_8xb2-2x_coco.py'

model = dict(inherit=['neck', 'rpn_head', 'roi_head'])
