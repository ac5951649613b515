# COCO, Faster R-CNN R50. Paper, Table 3: 37.93 -> 38.92 AP.
# The paper gives neither layers nor weights for detection. The first stage is frozen and would
# learn nothing; the weights are a hundredth of CIFAR-100's, for maps a few hundred times as large.
_base_ = [
    'mmdet::_base_/datasets/coco_detection.py', 'mmdet::_base_/schedules/schedule_2x.py',
    'mmdet::_base_/default_runtime.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

stages = ['backbone.layer2', 'backbone.layer3', 'backbone.layer4']
model = dict(
    _scope_='mmrazor',
    type='TeacherFreeDistill',
    architecture=dict(
        cfg_path='mmdet::faster_rcnn/faster-rcnn_r50_fpn_2x_coco.py', pretrained=False),
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_intra=dict(student=stages, loss=dict(type='TfFDIntraLoss', loss_weight=8e-6)),
            loss_inter=dict(student=stages, loss=dict(type='TfFDInterLoss', loss_weight=5e-6)))))
