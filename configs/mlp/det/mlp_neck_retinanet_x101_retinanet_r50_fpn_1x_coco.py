# The shorter schedule of the ablation. Paper, Table 1: 36.5 -> 39.5 mAP.
# Run, on 8 GPUs: tools/dist_train.sh \
#   configs/mlp/det/mlp_neck_retinanet_x101_retinanet_r50_fpn_1x_coco.py 8
_base_ = './mlp_neck_retinanet_x101_retinanet_r50_fpn_2x_coco.py'

train_cfg = dict(max_epochs=12)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=12, milestones=[8, 11])
