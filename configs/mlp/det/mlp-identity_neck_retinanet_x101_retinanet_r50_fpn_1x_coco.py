# Ablation of the transform. Paper, Table 1: 38.8 mAP (MLP 39.5).
# Run, on 8 GPUs: tools/dist_train.sh \
#   configs/mlp/det/mlp-identity_neck_retinanet_x101_retinanet_r50_fpn_1x_coco.py 8
_base_ = './mlp_neck_retinanet_x101_retinanet_r50_fpn_1x_coco.py'

model = dict(distiller=dict(links=dict(loss_fpn=dict(connector=dict(type='IdentityConnector')))))
