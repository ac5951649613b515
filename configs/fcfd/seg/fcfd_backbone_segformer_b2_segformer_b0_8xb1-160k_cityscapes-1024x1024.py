# Cityscapes, SegFormer MiT-B2 -> SegFormer MiT-B0. Not in the paper.
# Run, on 8 GPUs: tools/dist_train.sh \
#   configs/fcfd/seg/fcfd_backbone_segformer_b2_segformer_b0_8xb1-160k_cityscapes-1024x1024.py 8
# Data, optimizer and schedule are the student's own.
_base_ = [
    'mmseg::segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py',
    '../../_base_/pairs/cityscapes_segformer_b2_segformer_b0.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

model = dict(
    _base_.pair,
    _delete_=True,
    _scope_='mmrazor',
    type='FCFDSeg')
