# Cityscapes, SegFormer MiT-B2 -> SegFormer MiT-B0.
pair = dict(
    # 76.54 mIoU alone
    architecture=dict(
        cfg_path='mmseg::segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py',
        pretrained=False),
    teacher=dict(
        cfg_path='mmseg::segformer/segformer_mit-b2_8xb1-160k_cityscapes-1024x1024.py',
        pretrained=False),
    # 81.08 mIoU
    teacher_ckpt='https://download.openmmlab.com/mmsegmentation/v0.5/segformer/segformer_mit-b2_8x1_1024x1024_160k_cityscapes/segformer_mit-b2_8x1_1024x1024_160k_cityscapes_20211207_134205-6096669a.pth')  # noqa: E501
