# COCO, Faster R-CNN R101 -> R18: the paper's Table 3. mmdet's zoo has no caffe-style ResNet-18, so
# the student starts from torchvision's and takes RGB images as that does. (The authors' R18 takes
# RGB too, but both networks there get it minus the mean of BGR, which is not copied.)
_base_ = '../_base_/coco.py'

model = dict(
    architecture=dict(
        _base_.faster_rcnn,
        data_preprocessor=dict(
            type='DetDataPreprocessor',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True,
            pad_size_divisor=32),
        backbone=dict(
            _base_.faster_rcnn.backbone,
            depth=18,
            style='pytorch',
            init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18')),
        neck=dict(_base_.faster_rcnn.neck, in_channels=[64, 128, 256, 512])),
    teacher=_base_.r101,
    teacher_ckpt=_base_.r101_ckpt)
