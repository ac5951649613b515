# COCO, DINO Swin-L (five scales) -> DINO R50 (four).
pair = dict(
    # 49.0 mAP alone
    architecture=dict(cfg_path='mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py', pretrained=False),
    teacher=dict(cfg_path='mmdet::dino/dino-5scale_swin-l_8xb2-12e_coco.py', pretrained=False),
    # 57.2 mAP
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v3.0/dino/dino-5scale_swin-l_8xb2-12e_coco/dino-5scale_swin-l_8xb2-12e_coco_20230228_072924-a654145f.pth')  # noqa: E501
