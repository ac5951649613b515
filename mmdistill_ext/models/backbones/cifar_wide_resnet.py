"""Wide residual networks (Zagoruyko and Komodakis 2016)."""
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmdistill_ext.errors import ConfigError

from .staged import KAIMING, StagedBackbone


class PreActBlock(nn.Module):
    """``conv2(relu(bn2(conv1(a)))) + x`` with ``a = relu(bn1(x))``.

    Where the channels differ the shortcut is a 1x1 convolution of ``a``, not of ``x``.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.shortcut = (None if in_channels == out_channels else
                         nn.Conv2d(in_channels, out_channels, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x), inplace=True)
        out = self.conv2(F.relu(self.bn2(self.conv1(active)), inplace=True))
        return out + (x if self.shortcut is None else self.shortcut(active))


@MODELS.register_module()
class CIFARWideResNet(StagedBackbone):
    """WRN for 32x32 with three stages of strides 1, 2, 4.

    Named children in order: ``stem``, ``layer1``, ``layer2``, ``layer3``. The first three end
    before BatchNorm and ReLU; the network's last BatchNorm and ReLU belong to ``layer3``.

    Args:
        depth (int): 6n + 4, as in WRN-16-2.
        widen_factor (int): The stages have 16, 32, 64 channels times this.
        init_cfg (dict | Sequence[dict]): Initialization. Defaults to Kaiming.
        kwargs: ``out_indices`` (0 to 2), ``frozen_stages``, ``norm_eval`` of
            :class:`StagedBackbone`.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.backbones import CIFARWideResNet
        >>> network = CIFARWideResNet(16, widen_factor=2, out_indices=(0, 1, 2))
        >>> [tuple(feature.shape) for feature in network(torch.rand(1, 3, 32, 32))]
        [(1, 32, 32, 32), (1, 64, 16, 16), (1, 128, 8, 8)]
    """
    fcfd_stages = ('layer1', 'layer2', 'layer3.bn')  # before the last ReLU, as the first two

    def __init__(self, depth: int, widen_factor: int, init_cfg=KAIMING, **kwargs) -> None:
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1:
            raise ConfigError(f'CIFARWideResNet: depth is {depth}, expected 6n + 4: 16, 28, 40')
        stages, channels = [], 16
        for width, stride in ((16, 1), (32, 2), (64, 2)):
            width *= widen_factor
            stages.append(nn.Sequential(
                PreActBlock(channels, width, stride),
                *(PreActBlock(width, width, 1) for _ in range(blocks - 1))))
            channels = width
        stages[-1].add_module('bn', nn.BatchNorm2d(channels))
        stages[-1].add_module('relu', nn.ReLU(inplace=True))
        stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        super().__init__(stem, stages, init_cfg=init_cfg, **kwargs)
