# COCO, Faster R-CNN R50. Paper, Table 3: 37.93 -> 38.92 AP, a row that carries the dagger of "with
# logits" under a caption that says free of teachers: which it is stays open, this recipe has none.
# The form of the authors' code. The paper gives neither layers nor weights for detection: the first
# stage is frozen and would learn nothing, and the weights are CIFAR-100's, for the terms are means.
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
            loss_intra=dict(
                student=stages, loss=dict(type='TfFDIntraLoss', form='released', loss_weight=8e-4)),
            loss_inter=dict(
                student=stages, loss=dict(type='TfFDInterLoss', form='released',
                                          loss_weight=5e-4)))))
