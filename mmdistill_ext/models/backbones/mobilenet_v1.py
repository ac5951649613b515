"""MobileNetV1 (Howard et al. 2017), its stages grouped by stride."""
from typing import Optional

from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmengine.registry import MODELS
from torch import nn

from .staged import KAIMING, StagedBackbone

STAGES = ((128, 2), (256, 2), (512, 6), (1024, 2))  # channels, blocks; the first has stride 2


@MODELS.register_module()
class MobileNetV1(StagedBackbone):
    """Backbone with strides 4, 8, 16, 32 and channels 128, 256, 512, 1024.

    Named children in order: ``stem`` (stride 2, 64 channels), ``layer1`` .. ``layer4``; every
    one ends in a ReLU. With a classifier of 1000 classes 4.2 M parameters and 0.57 G
    multiply-adds at 224.

    Args:
        conv_cfg (dict, optional): mmcv's convolution layer. Defaults to Conv2d.
        norm_cfg (dict): mmcv's norm layer. Defaults to BatchNorm.
        act_cfg (dict): mmcv's activation layer. Defaults to ReLU.
        init_cfg (dict | Sequence[dict]): Initialization. Defaults to Kaiming.
        kwargs: ``out_indices`` (0 to 3), ``frozen_stages``, ``norm_eval`` of
            :class:`StagedBackbone`.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.backbones import MobileNetV1
        >>> network = MobileNetV1(out_indices=(0, 1, 2, 3))
        >>> [tuple(feature.shape) for feature in network(torch.rand(1, 3, 64, 64))]
        [(1, 128, 16, 16), (1, 256, 8, 8), (1, 512, 4, 4), (1, 1024, 2, 2)]
    """

    def __init__(self,
                 conv_cfg: Optional[dict] = None,
                 norm_cfg: dict = dict(type='BN'),  # noqa: B006
                 act_cfg: dict = dict(type='ReLU'),  # noqa: B006
                 init_cfg=KAIMING,
                 **kwargs) -> None:
        cfgs = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg, act_cfg=act_cfg)

        def block(in_channels, out_channels, stride=1):
            return DepthwiseSeparableConvModule(
                in_channels, out_channels, 3, stride=stride, padding=1, **cfgs)

        stem = nn.Sequential(ConvModule(3, 32, 3, stride=2, padding=1, **cfgs), block(32, 64))
        stages, channels = [], 64
        for width, blocks in STAGES:
            stages.append(nn.Sequential(
                block(channels, width, 2), *(block(width, width) for _ in range(blocks - 1))))
            channels = width
        super().__init__(stem, stages, init_cfg=init_cfg, **kwargs)
