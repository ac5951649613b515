# The same digits for a student of a quarter of the teacher's width, 11 thousand parameters.
_base_ = 'cls.py'

optim_wrapper = dict(optimizer=dict(weight_decay=9e-3))


def narrower(channels):
    return dict(
        backbone=dict(
            _delete_=True, type='ResNet_CIFAR', depth=18, num_stages=3, strides=(1, 2, 2),
            dilations=(1, 1, 1), out_indices=(2, ), stem_channels=channels,
            base_channels=channels, zero_init_residual=False, init_cfg=None),
        head=dict(in_channels=4 * channels))


student = narrower(4)
teacher = narrower(16)
del narrower
