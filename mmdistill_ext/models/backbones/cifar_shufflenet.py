"""ShuffleNet (Zhang et al. 2018) and ShuffleNetV2 (Ma et al. 2018) for 32x32.

Both start with a 1x1 convolution and have no pooling before the first stage.
"""
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from .staged import StagedBackbone, conv_bn_relu

STEM = 24


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave the groups of channels; torch's own has no gradient on torch 2.1."""
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


class GroupedUnit(nn.Module):
    """V1: grouped 1x1, shuffle, depthwise 3x3, grouped 1x1.

    With stride 2 the average-pooled input is appended to the channels, else the input is added.
    ``relu=False`` leaves the last ReLU to the stage, so that a stage can be cut before it.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, groups: int,
                 relu: bool = True) -> None:
        super().__init__()
        grown = out_channels - in_channels if stride == 2 else out_channels
        hidden = grown // 4
        self.stride = stride
        # The few channels of the stem are not grouped, nor is there anything to shuffle then.
        self.groups = 1 if in_channels == STEM else groups
        self.conv1 = nn.Conv2d(in_channels, hidden, 1, groups=self.groups, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv3 = nn.Conv2d(hidden, grown, 1, groups=groups, bias=False)
        self.bn3 = nn.BatchNorm2d(grown)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = shuffle(out, self.groups)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)  # the paper has no ReLU here
        out = self.bn3(self.conv3(out))
        if self.stride == 2:
            out = torch.cat([out, F.avg_pool2d(x, 3, 2, 1)], dim=1)
        else:
            out = out + x
        return F.relu(out, inplace=True) if self.relu else out


@MODELS.register_module()
class CIFARShuffleNetV1(StagedBackbone):
    """ShuffleNet 1x with 3 groups.

    Named children in order: ``stem``, ``layer1``, ``layer2``, ``layer3`` with strides 1, 2, 4, 8;
    every one ends in a ReLU, that of a stage is its child ``relu``.

    Args:
        kwargs: ``out_indices`` (0 to 2), ``frozen_stages``, ``norm_eval``, ``init_cfg`` of
            :class:`StagedBackbone`.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.backbones import CIFARShuffleNetV1
        >>> network = CIFARShuffleNetV1(out_indices=(0, 1, 2))
        >>> [tuple(feature.shape) for feature in network(torch.rand(1, 3, 32, 32))]
        [(1, 240, 16, 16), (1, 480, 8, 8), (1, 960, 4, 4)]
    """
    fcfd_stages = ('layer1.3', 'layer2.7', 'layer3.3')  # before the stage's ReLU

    def __init__(self, **kwargs) -> None:
        stages, channels = [], STEM
        for width, blocks in ((240, 4), (480, 8), (960, 4)):
            stages.append(nn.Sequential(
                GroupedUnit(channels, width, 2, groups=3),
                *(GroupedUnit(width, width, 1, groups=3, relu=unit < blocks)
                  for unit in range(2, blocks + 1))))
            stages[-1].add_module('relu', nn.ReLU(inplace=True))
            channels = width
        super().__init__(conv_bn_relu(3, STEM, 1), stages, **kwargs)


class SplitUnit(nn.Module):
    """V2, stride 1: half of the channels pass unchanged, the other half is transformed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(half, half, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, 1, 1, groups=half, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        kept, out = x.chunk(2, dim=1)
        out = F.relu(self.bn1(self.conv1(out)), inplace=True)
        out = self.bn2(self.conv2(out))
        out = F.relu(self.bn3(self.conv3(out)), inplace=True)
        return shuffle(torch.cat([kept, out], dim=1), 2)


class DownUnit(nn.Module):
    """V2, stride 2: both branches see all channels, each gives half of the output."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, 2, 1, groups=in_channels, bias=False)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv2 = nn.Conv2d(in_channels, half, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(in_channels, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = nn.Conv2d(half, half, 3, 2, 1, groups=half, bias=False)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = nn.Conv2d(half, half, 1, bias=False)
        self.bn5 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        left = self.bn1(self.conv1(x))
        left = F.relu(self.bn2(self.conv2(left)), inplace=True)
        right = F.relu(self.bn3(self.conv3(x)), inplace=True)
        right = self.bn4(self.conv4(right))
        right = F.relu(self.bn5(self.conv5(right)), inplace=True)
        return shuffle(torch.cat([left, right], dim=1), 2)


@MODELS.register_module()
class CIFARShuffleNetV2(StagedBackbone):
    """ShuffleNetV2 1x.

    Named children in order: ``stem``, ``layer1``, ``layer2``, ``layer3`` with strides 1, 2, 4, 8,
    ``tail`` (1x1 convolution to 1024 channels); every one ends in a ReLU.

    Args:
        kwargs: ``out_indices`` (0 to 2, 3 is the tail and the default), ``frozen_stages``,
            ``norm_eval``, ``init_cfg`` of :class:`StagedBackbone`.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.backbones import CIFARShuffleNetV2
        >>> network = CIFARShuffleNetV2(out_indices=(0, 1, 2, 3))
        >>> [tuple(feature.shape) for feature in network(torch.rand(1, 3, 32, 32))]
        [(1, 116, 16, 16), (1, 232, 8, 8), (1, 464, 4, 4), (1, 1024, 4, 4)]
    """
    fcfd_stages = ('layer1', 'layer2', 'tail')

    def __init__(self, **kwargs) -> None:
        stages, channels = [], STEM
        for width, blocks in ((116, 4), (232, 8), (464, 4)):
            stages.append(nn.Sequential(
                DownUnit(channels, width), *(SplitUnit(width) for _ in range(blocks - 1))))
            channels = width
        super().__init__(
            conv_bn_relu(3, STEM, 1), stages, conv_bn_relu(channels, 1024, 1), **kwargs)
