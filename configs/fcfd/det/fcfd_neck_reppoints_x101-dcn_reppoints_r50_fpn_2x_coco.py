# COCO, RepPoints ResNeXt-101 32x4d DCN -> RepPoints R50. Not in the paper.
# Run, on 8 GPUs: tools/dist_train.sh \
#   configs/fcfd/det/fcfd_neck_reppoints_x101-dcn_reppoints_r50_fpn_2x_coco.py 8
_base_ = [
    'mmdet::_base_/datasets/coco_detection.py', 'mmdet::_base_/schedules/schedule_2x.py',
    'mmdet::_base_/default_runtime.py',
    '../../_base_/pairs/coco_reppoints_x101-dcn_reppoints_r50.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

model = dict(
    _base_.pair,
    _scope_='mmrazor',
    type='FCFDDense')

optim_wrapper = dict(optimizer=dict(lr=0.01))
