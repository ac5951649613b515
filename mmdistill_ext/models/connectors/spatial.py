"""The transforms that also look at neighbouring pixels, for the ablation in configs/mlp."""
import math

import torch
from mmcv.cnn import NonLocal2d
from mmcv.ops import DeformConv2d, DeformConv2dPack
from mmrazor.models.architectures.connectors.base_connector import BaseConnector
from mmrazor.registry import MODELS
from torch import Tensor, nn

from mmdistill_ext.errors import ConfigError


def check_map(connector: nn.Module, feature: Tensor) -> None:
    """Raise for tokens, which a convolution would take for one image without batch."""
    if feature.ndim != 4:
        raise ConfigError(f'{type(connector).__name__}: expected a map [N, C, H, W], found '
                          f'{list(feature.shape)}; MLPConnector takes vectors and tokens')


@MODELS.register_module()
class Conv3x3Connector(BaseConnector):
    """3x3 convolution, ReLU, 3x3 convolution; hidden width as the teacher's.

    Args:
        in_channels (int): Channels of the student.
        out_channels (int): Channels of the teacher.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.connectors import Conv3x3Connector
        >>> connector = Conv3x3Connector(in_channels=8, out_channels=16)
        >>> connector(torch.rand(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1))

    def forward_train(self, feature: Tensor) -> Tensor:
        """``[N, in_channels, H, W]`` -> ``[N, out_channels, H, W]``."""
        check_map(self, feature)
        return self.convs(feature)


class _DeformConv(DeformConv2dPack):
    """Also runs on maps smaller than the kernel: only mmcv's ``DeformConv2d`` pads those."""

    def forward(self, x: Tensor) -> Tensor:
        return DeformConv2d.forward(self, x, self.conv_offset(x))


@MODELS.register_module()
class DeformableConnector(BaseConnector):
    """Deformable 3x3, ReLU, deformable 3x3, with mmcv's layer (no bias).

    Args:
        in_channels (int): Channels of the student.
        out_channels (int): Channels of the teacher.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.connectors import DeformableConnector
        >>> connector = DeformableConnector(in_channels=8, out_channels=16)
        >>> connector(torch.rand(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = _DeformConv(in_channels, out_channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _DeformConv(out_channels, out_channels, 3, padding=1)

    def forward_train(self, feature: Tensor) -> Tensor:
        """``[N, in_channels, H, W]`` -> ``[N, out_channels, H, W]``, float32 under AMP."""
        check_map(self, feature)
        # mmcv's op computes im2col_step (at most 32) samples at a time; it must divide the batch.
        self.conv1.im2col_step = self.conv2.im2col_step = math.gcd(len(feature), 32)
        # mmcv's op does not support bfloat16 and needs a contiguous input.
        with torch.autocast(feature.device.type, enabled=False):
            feature = feature.type_as(self.conv1.weight).contiguous()
            return self.conv2(self.relu(self.conv1(feature)))


@MODELS.register_module()
class NonLocalConnector(BaseConnector):
    """mmcv's non-local block, then a 1x1 convolution where the channels differ.

    Args:
        in_channels (int): Channels of the student.
        out_channels (int): Channels of the teacher.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.connectors import NonLocalConnector
        >>> connector = NonLocalConnector(in_channels=8, out_channels=16)
        >>> connector(torch.rand(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.non_local = NonLocal2d(in_channels)
        self.conv = (nn.Identity() if in_channels == out_channels else
                     nn.Conv2d(in_channels, out_channels, 1))

    def forward_train(self, feature: Tensor) -> Tensor:
        """``[N, in_channels, H, W]`` -> ``[N, out_channels, H, W]``."""
        check_map(self, feature)
        return self.conv(self.non_local(feature))
