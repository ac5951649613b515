# COCO, GFL R101 -> GFL R50, 1x. Not in the paper; CrossKD's pair, which has 43.7 mAP there.
# Run, on 8 GPUs: tools/dist_train.sh \
#   configs/fcfd/det/fcfd_neck_gfl_r101_gfl_r50_fpn_1x_coco.py 8
_base_ = [
    'mmdet::_base_/datasets/coco_detection.py', 'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py', '../../_base_/pairs/coco_gfl_r101_gfl_r50.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

model = dict(
    _base_.pair,
    _scope_='mmrazor',
    type='FCFDDense')

optim_wrapper = dict(optimizer=dict(lr=0.01))
