# COCO, RetinaNet ResNeXt-101 64x4d -> RetinaNet R50. Not in the paper.
# Run, on 8 GPUs: tools/dist_train.sh \
#   configs/fcfd/det/fcfd_neck_retinanet_x101_retinanet_r50_fpn_2x_coco.py 8
_base_ = [
    'mmdet::_base_/datasets/coco_detection.py', 'mmdet::_base_/schedules/schedule_2x.py',
    'mmdet::_base_/default_runtime.py', '../../_base_/pairs/coco_retinanet_x101_retinanet_r50.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

model = dict(
    _base_.pair,
    _scope_='mmrazor',
    type='FCFDDense')

optim_wrapper = dict(optimizer=dict(lr=0.01))
