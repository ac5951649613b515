# Ablation of the transform. Paper, Table 7: 75.69 mIoU (MLP 76.55).
# Run, on 8 GPUs: tools/dist_train.sh \
#   configs/mlp/seg/mlp-deformable_backbone_pspnet_r101-d8_deeplabv3_r18-d8_8xb2-40k_cityscapes-512x512.py 8
_base_ = './mlp_backbone_pspnet_r101-d8_deeplabv3_r18-d8_8xb2-40k_cityscapes-512x512.py'

model = dict(
    distiller=dict(links=dict(loss_stage4=dict(connector=dict(type='DeformableConnector')))))
