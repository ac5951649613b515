"""The residual networks of the CIFAR distillation literature (He et al. 2016, section 4.2)."""
from typing import Union

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmdistill_ext.errors import ConfigError, nearest

from .staged import KAIMING, StagedBackbone, conv_bn_relu

NARROW, WIDE = (16, 16, 32, 64), (32, 64, 128, 256)  # stem, layer1, layer2, layer3
ARCHS = {  # blocks a stage, channels
    '20': (3, NARROW), '32': (5, NARROW), '56': (9, NARROW), '110': (18, NARROW),
    '8x4': (1, WIDE), '32x4': (5, WIDE)}


class BasicBlock(nn.Module):
    """``relu(bn2(conv2(relu(bn1(conv1(x))))) + x)``, 1x1 conv + BatchNorm where shapes differ."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(out)) + self.downsample(x), inplace=True)


@MODELS.register_module()
class CIFARResNet(StagedBackbone):
    """ResNet for 32x32 with three stages of strides 1, 2, 4.

    Named children in order: ``stem``, ``layer1``, ``layer2``, ``layer3``; every one ends in a
    ReLU.

    Args:
        depth (int | str): 20, 32, 56, 110, or ``'8x4'``, ``'32x4'``, which are four times as
            wide.
        init_cfg (dict | Sequence[dict]): Initialization. Defaults to Kaiming.
        kwargs: ``out_indices`` (0 to 2), ``frozen_stages``, ``norm_eval`` of
            :class:`StagedBackbone`.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.backbones import CIFARResNet
        >>> network = CIFARResNet('8x4', out_indices=(0, 1, 2))
        >>> [tuple(feature.shape) for feature in network(torch.rand(1, 3, 32, 32))]
        [(1, 64, 32, 32), (1, 128, 16, 16), (1, 256, 8, 8)]
    """

    def __init__(self, depth: Union[int, str], init_cfg=KAIMING, **kwargs) -> None:
        if str(depth) not in ARCHS:
            raise ConfigError(f'CIFARResNet: no depth {depth!r}, {nearest(str(depth), ARCHS)}')
        blocks, (channels, *widths) = ARCHS[str(depth)]
        stem, stages = conv_bn_relu(3, channels), []
        for width, stride in zip(widths, (1, 2, 2)):
            stages.append(nn.Sequential(
                BasicBlock(channels, width, stride),
                *(BasicBlock(width, width, 1) for _ in range(blocks - 1))))
            channels = width
        super().__init__(stem, stages, init_cfg=init_cfg, **kwargs)
