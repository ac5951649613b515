# DINOv2 ViT-B/14: mmpretrain::dinov2/vit-base-p14_dinov2-pre_headless.py, whose output becomes a
# map. On 142 million images without labels.
dinov2 = dict(
    teacher=dict(
        _scope_='mmpretrain',
        type='ImageClassifier',
        data_preprocessor=dict(
            mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
        backbone=dict(
            type='VisionTransformer',
            arch='base',
            img_size=518,
            patch_size=14,
            layer_scale_init_value=1e-5,
            out_type='featmap'),
        neck=None,
        head=None),
    teacher_ckpt='https://download.openmmlab.com/mmpretrain/v1.0/dinov2/vit-base-p14_dinov2-pre_3rdparty_20230426-ba246503.pth')  # noqa: E501
