# Table 4: with SimKD, WRN-40-2 -> WRN-16-2.
_base_ = './fcfd_wrn-40-2_wrn-16-2_1xb64_cifar100.py'

model = dict(
    type='FCFDSimKD',
    # the last after its ReLU: the projector ends in one
    teacher_stages=['backbone.layer1', 'backbone.layer2', 'backbone.layer3'],
    architecture=dict(
        neck=[
            dict(type='SimKDProjector', in_channels=128, out_channels=128),
            dict(type='GlobalAveragePooling')
        ],
        head=dict(in_channels=128)))
