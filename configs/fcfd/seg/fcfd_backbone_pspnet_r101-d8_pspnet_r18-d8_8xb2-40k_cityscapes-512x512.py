# Cityscapes, PSPNet R101 -> PSPNet R18. Not in the paper.
# Run, on 8 GPUs: tools/dist_train.sh \
#   configs/fcfd/seg/fcfd_backbone_pspnet_r101-d8_pspnet_r18-d8_8xb2-40k_cityscapes-512x512.py 8
_base_ = [
    'mmseg::_base_/datasets/cityscapes.py', 'mmseg::_base_/schedules/schedule_40k.py',
    'mmseg::_base_/default_runtime.py', '../../_base_/pairs/cityscapes_pspnet_r101_pspnet_r18.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

train_pipeline = _base_.train_pipeline
train_pipeline[3].update(crop_size=_base_.pair.data_preprocessor.size)  # RandomCrop
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    _base_.pair,
    _scope_='mmrazor',
    type='FCFDSeg')
