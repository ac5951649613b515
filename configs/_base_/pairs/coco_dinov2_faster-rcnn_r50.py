# COCO, DINOv2 ViT-B/14 -> Faster R-CNN R50.
_base_ = '../dinov2_vit-b14.py'
pair = dict(
    # 37.4 mAP alone
    architecture=dict(
        cfg_path='mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', pretrained=False),
    **_base_.dinov2)
