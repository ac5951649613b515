"""MobileNetV2 (Sandler et al. 2018) as used in the CIFAR distillation literature."""
from mmengine.registry import MODELS
from torch import Tensor, nn

from .staged import KAIMING, StagedBackbone, conv_bn_relu

# Expansion, channels, blocks, stride. Channels are scaled without rounding to multiples of 8.
STAGES = (((1, 16, 1, 1), (6, 24, 2, 1)),
          ((6, 32, 3, 2), ),
          ((6, 64, 4, 2), (6, 96, 3, 1)),
          ((6, 160, 3, 2), (6, 320, 1, 1)))


class InvertedResidual(nn.Module):
    """1x1, depthwise 3x3, linear 1x1; the first 1x1 is kept with expansion 1."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.conv = nn.Sequential(
            *conv_bn_relu(in_channels, hidden, 1),
            *conv_bn_relu(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


@MODELS.register_module()
class CIFARMobileNetV2(StagedBackbone):
    """MobileNetV2 for 32x32, with ReLU.

    Named children in order: ``stem``, ``layer1`` .. ``layer4`` with strides 2, 2, 4, 8, 16,
    ``tail`` (1x1 convolution to 1280 channels). The stages end in a linear convolution, stem and
    tail in a ReLU.

    Args:
        widen_factor (float): Width multiplier. Defaults to 0.5.
        init_cfg (dict | Sequence[dict]): Initialization. Defaults to Kaiming.
        kwargs: ``out_indices`` (0 to 3, 4 is the tail and the default), ``frozen_stages``,
            ``norm_eval`` of :class:`StagedBackbone`.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.backbones import CIFARMobileNetV2
        >>> network = CIFARMobileNetV2(out_indices=(0, 3, 4))
        >>> [tuple(feature.shape) for feature in network(torch.rand(1, 3, 32, 32))]
        [(1, 12, 16, 16), (1, 160, 2, 2), (1, 1280, 2, 2)]
    """
    fcfd_stages = ('layer1', 'layer2', 'layer3', 'tail.1')  # the last before its ReLU

    def __init__(self, widen_factor: float = 0.5, init_cfg=KAIMING, **kwargs) -> None:
        channels = int(32 * widen_factor)
        stem, stages = conv_bn_relu(3, channels, 3, 2), []
        for groups in STAGES:
            stage = nn.Sequential()
            for expansion, width, blocks, stride in groups:
                width = int(width * widen_factor)
                stage.append(nn.Sequential(
                    InvertedResidual(channels, width, stride, expansion),
                    *(InvertedResidual(width, width, 1, expansion) for _ in range(blocks - 1))))
                channels = width
            stages.append(stage)
        super().__init__(
            stem, stages, conv_bn_relu(channels, 1280, 1), init_cfg=init_cfg, **kwargs)
