# ImageNet-1k, DeiT-B -> DeiT-S, mmpretrain's.
pair = dict(
    # 80.69 top-1 alone
    architecture=dict(cfg_path='mmpretrain::deit/deit-small_4xb256_in1k.py', pretrained=False),
    teacher=dict(cfg_path='mmpretrain::deit/deit-base_16xb64_in1k.py', pretrained=False),
    # 81.76 top-1
    teacher_ckpt='https://download.openmmlab.com/mmclassification/v0/deit/deit-base_pt-16xb64_in1k_20220216-db63c16c.pth')  # noqa: E501
