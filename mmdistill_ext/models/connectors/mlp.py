"""The transforms made of 1x1 convolutions: identity, linear and the channel MLP."""
from typing import Optional

from mmrazor.models.architectures.connectors.base_connector import BaseConnector
from mmrazor.registry import MODELS
from torch import Tensor, nn

from mmdistill_ext.errors import ConfigError, whole


@MODELS.register_module()
class IdentityConnector(BaseConnector):
    """The student's feature as it is; only where the channels agree.

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
                f'{out_channels}; LinearConnector or MLPConnector would map them')

    def forward_train(self, feature: Tensor) -> Tensor:
        """``[N, C, H, W]`` -> the same tensor."""
        return feature


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
        """``[N, in_channels, H, W]`` -> ``[N, out_channels, H, W]``."""
        return self.conv(feature)


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
        whole('MLPConnector: num_hidden', num_hidden)  # none would be the LinearConnector
        width = out_channels if hidden_channels is None else \
            whole('MLPConnector: hidden_channels', hidden_channels)
        layers = []
        for _ in range(num_hidden):
            layers += [nn.Conv2d(in_channels, width, 1), nn.ReLU(inplace=True)]
            in_channels = width
        self.mlp = nn.Sequential(*layers, nn.Conv2d(in_channels, out_channels, 1))

    def forward_train(self, feature: Tensor) -> Tensor:
        """``[N, in_channels, H, W]`` -> ``[N, out_channels, H, W]``."""
        return self.mlp(feature)
