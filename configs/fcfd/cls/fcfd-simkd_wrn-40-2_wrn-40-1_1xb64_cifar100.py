# Table 4: with SimKD, WRN-40-2 -> WRN-40-1.
_base_ = './fcfd_wrn-40-2_wrn-40-1_1xb64_cifar100.py'

model = dict(
    type='FCFDSimKD',
    # the last after its ReLU: the projector ends in one
    teacher_stages=['backbone.layer1', 'backbone.layer2', 'backbone.layer3'],
    architecture=dict(
        neck=[
            dict(type='SimKDProjector', in_channels=64, out_channels=128),
            dict(type='GlobalAveragePooling')
        ],
        head=dict(in_channels=128)))
