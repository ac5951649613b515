# Cityscapes, DINOv2 ViT-B/14 -> PSPNet R18, on crops of 512x512.
_base_ = ['./cityscapes_pspnet_r101_pspnet_r18.py', '../dinov2_vit-b14.py']
pair = dict(_base_.dinov2, teacher=dict(_base_.dinov2.teacher, _delete_=True))
