# Cityscapes, PSPNet R18; the paper leaves segmentation as future work. Schedule and crop are those
# of configs/mlp/seg, whose plain student has 69.85 mIoU. The form of the authors' code; the weights
# are CIFAR-100's, for the terms are means.
_base_ = [
    'mmseg::_base_/datasets/cityscapes.py', 'mmseg::_base_/schedules/schedule_40k.py',
    'mmseg::_base_/default_runtime.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

crop_size = (512, 512)
train_pipeline = _base_.train_pipeline
train_pipeline[3].update(crop_size=crop_size)  # RandomCrop
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

stages = ['backbone.layer1', 'backbone.layer2', 'backbone.layer3', 'backbone.layer4']
model = dict(
    _scope_='mmrazor',
    type='TeacherFreeDistill',
    data_preprocessor=dict(  # the student's own would pad to 512x1024
        type='mmseg.SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=crop_size),
    architecture=dict(
        cfg_path='mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py', pretrained=False),
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_intra=dict(
                student=stages, loss=dict(type='TfFDIntraLoss', form='released', loss_weight=8e-4)),
            loss_inter=dict(
                student=stages, loss=dict(type='TfFDInterLoss', form='released',
                                          loss_weight=5e-4)))))
