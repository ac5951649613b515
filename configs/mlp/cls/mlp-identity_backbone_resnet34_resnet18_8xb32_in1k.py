# Ablation of the transform. Paper, Table 1: 70.3 top-1 (MLP 71.5).
# Run, on 8 GPUs: tools/dist_train.sh \
#   configs/mlp/cls/mlp-identity_backbone_resnet34_resnet18_8xb32_in1k.py 8
_base_ = './mlp_backbone_resnet34_resnet18_8xb32_in1k.py'

model = dict(distiller=dict(links=dict(loss_stage4=dict(connector=dict(type='IdentityConnector')))))
