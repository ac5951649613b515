# COCO, Faster R-CNN R101 -> R18: the paper's Table 3. mmdet's zoo has no caffe-style ResNet-18, so
# the student starts from torchvision's and takes RGB images as that does. (The authors' R18 takes
# RGB too, but both networks there get it minus the mean of BGR, which is not copied.)
# Run, on one GPU: python tools/train.py \
#   configs/fcfd/det/fcfd_neck_faster-rcnn_r101_faster-rcnn_r18_1xb8-amp-1x_coco.py
_base_ = '../_base_/coco.py'

model = dict(
    architecture=dict(
        _base_.faster_rcnn,
        data_preprocessor=_base_.rgb,
        backbone=dict(
            _base_.faster_rcnn.backbone,
            depth=18,
            style='pytorch',
            init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18')),
        neck=dict(_base_.faster_rcnn.neck, in_channels=[64, 128, 256, 512])),
    teacher=_base_.r101,
    teacher_ckpt=_base_.r101_ckpt)
