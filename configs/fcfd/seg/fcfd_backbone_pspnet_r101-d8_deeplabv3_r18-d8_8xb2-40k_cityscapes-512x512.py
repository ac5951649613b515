# Cityscapes, PSPNet R101 -> DeepLabV3 R18. Not in the paper.
# Run, on 8 GPUs: tools/dist_train.sh \
#   configs/fcfd/seg/fcfd_backbone_pspnet_r101-d8_deeplabv3_r18-d8_8xb2-40k_cityscapes-512x512.py 8
_base_ = './fcfd_backbone_pspnet_r101-d8_pspnet_r18-d8_8xb2-40k_cityscapes-512x512.py'

model = dict(
    architecture=dict(
        cfg_path='mmseg::deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py'))
