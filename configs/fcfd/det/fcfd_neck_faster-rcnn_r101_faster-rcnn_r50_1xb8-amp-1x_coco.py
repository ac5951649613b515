# COCO, Faster R-CNN R101 -> R50: the paper's Table 3, in its batch size, learning rate and AMP.
_base_ = [
    'mmdet::_base_/datasets/coco_detection.py', 'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

model = dict(
    _scope_='mmrazor',
    type='FCFDRoI',
    architecture=dict(
        cfg_path='mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', pretrained=False),
    teacher=dict(
        cfg_path='mmdet::faster_rcnn/faster-rcnn_r101_fpn_ms-3x_coco.py', pretrained=False),
    # 41.8 mAP; the paper's own, of Detectron2, has been trained for 3x too
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/faster_rcnn_r101_fpn_mstrain_3x_coco/faster_rcnn_r101_fpn_mstrain_3x_coco_20210524_110822-4d4d2ca8.pth')  # noqa: E501

train_dataloader = dict(batch_size=8)
optim_wrapper = dict(type='AmpOptimWrapper', optimizer=dict(lr=0.01))
auto_scale_lr = dict(base_batch_size=8)
