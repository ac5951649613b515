# COCO, RetinaNet ResNeXt-101 64x4d -> RetinaNet R50.
pair = dict(
    architecture=dict(cfg_path='mmdet::retinanet/retinanet_r50_fpn_2x_coco.py', pretrained=False),
    teacher=dict(cfg_path='mmdet::retinanet/retinanet_x101-64x4d_fpn_1x_coco.py', pretrained=False),
    # 41.0 mAP, the better one of the zoo's 1x (41.0) and 2x (40.8)
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v2.0/retinanet/retinanet_x101_64x4d_fpn_1x_coco/retinanet_x101_64x4d_fpn_1x_coco_20200130-366f5af1.pth',  # noqa: E501
    inherit=['neck', 'bbox_head'])
