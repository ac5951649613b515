# COCO, RepPoints ResNeXt-101 32x4d DCN -> RepPoints R50.
pair = dict(
    # 38.6 mAP alone, as the paper's student: the variant with GroupNorm in neck and head
    architecture=dict(
        cfg_path='mmdet::reppoints/reppoints-moment_r50_fpn-gn_head-gn_2x_coco.py',
        pretrained=False),
    teacher=dict(
        cfg_path='mmdet::reppoints/reppoints-moment_x101-dconv-c3-c5_fpn-gn_head-gn_2x_coco.py',
        pretrained=False),
    # 44.2 mAP, the zoo's only ResNeXt-101
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v2.0/reppoints/reppoints_moment_x101_fpn_dconv_c3-c5_gn-neck%2Bhead_2x_coco/reppoints_moment_x101_fpn_dconv_c3-c5_gn-neck%2Bhead_2x_coco_20200329-f87da1ea.pth',  # noqa: E501
    inherit=['neck', 'bbox_head'])
