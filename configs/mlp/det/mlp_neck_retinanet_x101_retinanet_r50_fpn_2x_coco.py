# COCO, RetinaNet ResNeXt-101 64x4d -> RetinaNet R50. Paper, Table 5: 37.4 -> 41.0 mAP.
# Run, on 8 GPUs: tools/dist_train.sh \
#   configs/mlp/det/mlp_neck_retinanet_x101_retinanet_r50_fpn_2x_coco.py 8
# Its steps take 3.9 h on 8 H100s, data loading not counted (docs/performance.md).
_base_ = [
    'mmdet::_base_/datasets/coco_detection.py', 'mmdet::_base_/schedules/schedule_2x.py',
    'mmdet::_base_/default_runtime.py', '../../_base_/pairs/coco_retinanet_x101_retinanet_r50.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

model = dict(
    _base_.pair,
    _scope_='mmrazor',
    type='LeanTeacherDistill',
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_fpn=dict(
                student='neck',
                teacher='neck',
                connector=dict(type='MLPConnector'),
                loss=dict(type='FeatureL2Loss', loss_weight=2e-5)))))

optim_wrapper = dict(optimizer=dict(lr=0.01))
