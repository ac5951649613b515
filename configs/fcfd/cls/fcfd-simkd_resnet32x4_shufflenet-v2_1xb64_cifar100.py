# Table 4: with SimKD, ResNet-32x4 -> ShuffleNetV2.
_base_ = './fcfd_resnet32x4_shufflenet-v2_1xb64_cifar100.py'

model = dict(
    type='FCFDSimKD',
    architecture=dict(
        neck=[
            dict(type='SimKDProjector', in_channels=1024, out_channels=256),
            dict(type='GlobalAveragePooling')
        ],
        head=dict(in_channels=256)))
