# COCO as FCFD's authors train on it: 180,000 iterations of 8 images in one process, AMP, short side
# from 640 to 800 in steps of 32, no weight decay for BatchNorm (only the bridges' is trained).
# A recipe adds the student and the teacher.
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50-caffe_fpn_ms-90k_coco.py'
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

train_dataloader = dict(batch_size=8)
max_iter = 180000
train_cfg = dict(max_iters=max_iter)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(
        type='MultiStepLR', begin=0, end=max_iter, by_epoch=False, milestones=[120000, 160000],
        gamma=0.1)
]
optim_wrapper = dict(
    type='AmpOptimWrapper', optimizer=dict(lr=0.01), paramwise_cfg=dict(norm_decay_mult=0.))
auto_scale_lr = dict(base_batch_size=8)

# R50, caffe-style: images in BGR with std 1, frozen BatchNorm, stem and first stage not trained
faster_rcnn = dict(_base_.model, _scope_='mmdet')
# Images as torchvision's and mmdet's MobileNetV2 weights take them
rgb = dict(
    type='DetDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_size_divisor=32)
# The model of mmdet's faster-rcnn_r101-caffe_fpn_ms-3x_coco.py, written out: in mmdet 3.3 that
# config has lost the BGR images with std 1 that its checkpoint was trained on.
r101 = dict(
    faster_rcnn,
    backbone=dict(
        _base_.model.backbone,
        depth=101,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://detectron2/resnet101_caffe')))
# 42.0 mAP, where the paper's has 42.04
r101_ckpt = 'https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/faster_rcnn_r101_caffe_fpn_mstrain_3x_coco/faster_rcnn_r101_caffe_fpn_mstrain_3x_coco_20210526_095742-a7ae426d.pth'  # noqa: E501
model = dict(_delete_=True, _scope_='mmrazor', type='FCFDRoI')
