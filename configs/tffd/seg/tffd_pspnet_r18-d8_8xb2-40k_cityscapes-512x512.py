# Cityscapes, PSPNet R18; the paper leaves segmentation as future work. Schedule and crop are those
# of configs/mlp/seg, whose plain student has 69.85 mIoU. The form of the authors' code; the weights
# are CIFAR-100's, for the terms are means.
# Run, on 8 GPUs: tools/dist_train.sh \
#   configs/tffd/seg/tffd_pspnet_r18-d8_8xb2-40k_cityscapes-512x512.py 8
_base_ = [
    'mmseg::_base_/datasets/cityscapes.py', 'mmseg::_base_/schedules/schedule_40k.py',
    'mmseg::_base_/default_runtime.py', '../../_base_/pairs/cityscapes_pspnet_r101_pspnet_r18.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

train_pipeline = _base_.train_pipeline
train_pipeline[3].update(crop_size=_base_.pair.data_preprocessor.size)  # RandomCrop
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

stages = ['backbone.layer1', 'backbone.layer2', 'backbone.layer3', 'backbone.layer4']
model = dict(
    _scope_='mmrazor',
    type='TeacherFreeDistill',
    data_preprocessor=_base_.pair.data_preprocessor,
    architecture=_base_.pair.architecture,
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_intra=dict(
                student=stages, loss=dict(type='TfFDIntraLoss', form='released', loss_weight=8e-4)),
            loss_inter=dict(
                student=stages, loss=dict(type='TfFDInterLoss', form='released',
                                          loss_weight=5e-4)))))
