"""The transforms of single positions: identity, linear and the channel MLP.

They are 1x1 convolutions, and take vectors ``[N, C]`` and tokens ``[N, L, C]`` as well.
"""
from typing import Optional

from mmrazor.models.architectures.connectors.base_connector import BaseConnector
from mmrazor.registry import MODELS
from torch import Tensor, nn

from mmdistill_ext.errors import ConfigError, whole


@MODELS.register_module()
class IdentityConnector(BaseConnector):
    """Returns the student's feature unchanged. Raises if the channels differ.

    Args:
        in_channels (int): Channels of the student.
        out_channels (int): Channels of the teacher.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.connectors import IdentityConnector
        >>> connector = IdentityConnector(in_channels=8, out_channels=8)
        >>> connector(torch.rand(2, 8, 14, 14)).shape
        torch.Size([2, 8, 14, 14])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        if in_channels != out_channels:
            raise ConfigError(
                f'IdentityConnector: the student has {in_channels} channels, the teacher '
                f'{out_channels}; expected the same number (LinearConnector and '
                'MLPConnector change it)')

    def forward_train(self, feature: Tensor) -> Tensor:
        """Returns the same tensor."""
        return feature


def at_each_position(convs: nn.Module, feature: Tensor) -> Tensor:
    """Apply 1x1 convolutions to the channels of a vector, of tokens or of a map.

    Args:
        convs (nn.Module): Takes and returns ``[N, C, H, W]``.
        feature (Tensor): ``[N, C]``, ``[N, L, C]`` or ``[N, C, H, W]``.
    """
    if feature.ndim == 2:
        return convs(feature[:, :, None, None]).flatten(1)
    if feature.ndim == 3:
        return convs(feature.transpose(1, 2).unsqueeze(3)).squeeze(3).transpose(1, 2)
    return convs(feature)


@MODELS.register_module()
class LinearConnector(BaseConnector):
    """One 1x1 convolution with bias.

    Args:
        in_channels (int): Channels of the student.
        out_channels (int): Channels of the teacher.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.connectors import LinearConnector
        >>> connector = LinearConnector(in_channels=8, out_channels=16)
        >>> connector(torch.rand(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)

    def forward_train(self, feature: Tensor) -> Tensor:
        """``[N, in_channels, H, W]`` -> ``[N, out_channels, H, W]``; so vectors and tokens."""
        return at_each_position(self.conv, feature)


@MODELS.register_module()
class MLPConnector(BaseConnector):
    """``W2(relu(W1(F)))``, the channel MLP: 1x1 convolutions with bias.

    Args:
        in_channels (int): Channels of the student.
        out_channels (int): Channels of the teacher.
        hidden_channels (int, optional): Width of a hidden layer. Defaults to ``out_channels``;
            twice that is the paper's MLP-wider.
        num_hidden (int): Number of hidden layers. Defaults to 1; 2 is the paper's MLP-deeper.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.connectors import MLPConnector
        >>> connector = MLPConnector(in_channels=8, out_channels=16, hidden_channels=32)
        >>> connector(torch.rand(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    def __init__(self,
                 in_channels: int,
                 out_channels: int,
                 hidden_channels: Optional[int] = None,
                 num_hidden: int = 1) -> None:
        super().__init__()
        whole('MLPConnector: num_hidden', num_hidden)  # 0 is LinearConnector
        width = out_channels if hidden_channels is None else \
            whole('MLPConnector: hidden_channels', hidden_channels)
        layers = []
        for _ in range(num_hidden):
            layers += [nn.Conv2d(in_channels, width, 1), nn.ReLU(inplace=True)]
            in_channels = width
        self.mlp = nn.Sequential(*layers, nn.Conv2d(in_channels, out_channels, 1))

    def forward_train(self, feature: Tensor) -> Tensor:
        """``[N, in_channels, H, W]`` -> ``[N, out_channels, H, W]``; so vectors and tokens."""
        return at_each_position(self.mlp, feature)
