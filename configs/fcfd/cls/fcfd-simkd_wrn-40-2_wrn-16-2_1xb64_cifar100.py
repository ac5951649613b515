# Table 4: with SimKD, WRN-40-2 -> WRN-16-2.
_base_ = './fcfd_wrn-40-2_wrn-16-2_1xb64_cifar100.py'

model = dict(
    type='FCFDSimKD',
    architecture=dict(
        neck=[
            dict(type='SimKDProjector', in_channels=128, out_channels=128),
            dict(type='GlobalAveragePooling')
        ],
        head=dict(in_channels=128)))
