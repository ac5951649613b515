"""The bridges of FCFD: from one network's feature to the shape of the other's."""
from fractions import Fraction

from mmrazor.models.architectures.connectors.base_connector import BaseConnector
from mmrazor.registry import MODELS
from torch import Tensor, nn

from ...errors import ConfigError, few
from .features import Feature
from .staged_network import StagedNetwork

CONVS = {  # how many times larger the target is: the convolution that gets there
    0.5: lambda cin, cout: nn.Conv2d(cin, cout, 3, stride=2, padding=1),
    1: lambda cin, cout: nn.Conv2d(cin, cout, 3, padding=1, bias=False),
    2: lambda cin, cout: nn.ConvTranspose2d(cin, cout, 4, stride=2, padding=1)}


@MODELS.register_module()
class FCFDBridge(BaseConnector):
    """One convolution, one BatchNorm, and LeakyReLU(0.1) where the target is post-ReLU.

    The weight of a ``Conv2d`` starts as Kaiming's (normal, fan out); a transposed convolution and
    every bias start as PyTorch's own.

    Args:
        in_channels (int): Channels of the feature.
        out_channels (int): Channels of the target.
        scale (float): Height of the target divided by that of the feature: 0.5, 1 or 2. Defaults
            to 1.
        post_relu (bool): Whether the target comes out of a ReLU. Defaults to False.
        tokens (bool): Whether feature and target are tokens ``[N, L, C]``, which have no neighbours
            (a class token is one of them): the convolution is 1x1 then. Defaults to False.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.fcfd import FCFDBridge
        >>> bridge = FCFDBridge(in_channels=8, out_channels=16, scale=0.5, post_relu=True)
        >>> bridge(torch.rand(2, 8, 14, 14)).shape
        torch.Size([2, 16, 7, 7])
    """

    def __init__(self, in_channels: int, out_channels: int, scale: float = 1,
                 post_relu: bool = False, tokens: bool = False) -> None:
        super().__init__()
        if scale not in CONVS:
            raise ConfigError(f'FCFDBridge: scale is {scale:g}; expected one of 0.5, 1, 2')
        if tokens and scale != 1:
            raise ConfigError(f'FCFDBridge: scale is {scale:g}; tokens keep their number (1)')
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False) if tokens else \
            CONVS[scale](in_channels, out_channels)
        self.bn = nn.BatchNorm2d(out_channels)
        # inplace: what the BatchNorm gave is not kept beside it for backward
        self.act = nn.LeakyReLU(0.1, inplace=True) if post_relu else nn.Identity()
        if isinstance(self.conv, nn.Conv2d):
            nn.init.kaiming_normal_(self.conv.weight, mode='fan_out', nonlinearity='relu')

    def forward_train(self, feature: Tensor) -> Tensor:
        """``[N, in_channels, H, W]`` -> ``[N, out_channels, scale * H, scale * W]``; so tokens."""
        if feature.ndim == 4:
            return self.act(self.bn(self.conv(feature)))
        # Not as a map of width 1: PyTorch 2.11's BatchNorm gives wrong gradients there on CPUs,
        # where the gradient that it gets is laid out as channels_last.
        tokens = feature.flatten(0, 1)[:, :, None, None]
        return self.act(self.bn(self.conv(tokens))).flatten(1).unflatten(0, feature.shape[:2])


def bridge_between(source: Feature, target: Feature) -> FCFDBridge:
    """A bridge from one network's feature to the shape of another's.

    Args:
        source (Feature): What is transformed.
        target (Feature): What it becomes like.
    """
    if len(source.size) != len(target.size) or (
            len(source.size) == 1 and source.size != target.size):
        raise ConfigError(
            f'FCFD: no bridge from {source} to {target} (C, H, W of a map; L, C of tokens): name '
            'stages that both give maps, or as many tokens, in student_stages and teacher_stages')
    if len(source.size) == 1:
        return FCFDBridge(source.channels, target.channels, 1, target.post_relu, tokens=True)
    heights, widths = (Fraction(t * source.image, s * target.image)
                       for t, s in zip(target.size, source.size))
    if heights != widths or heights not in CONVS:
        factor = heights if heights == widths else f'{heights} by {widths}'
        raise ConfigError(
            f'FCFD: no bridge from {source} to {target} (C, H, W; images of {source.image} and '
            f'{target.image} pixels): the size changes {factor} times; expected one of '
            '1/2, 1, 2; name stages that line up in student_stages and teacher_stages')
    return FCFDBridge(source.channels, target.channels, float(heights), target.post_relu)


def check_stages(student: StagedNetwork, teacher: StagedNetwork) -> None:
    """As many stages on both sides, and the same classes."""
    if len(student) != len(teacher):
        sides = [f'the {side} has {len(net)} stages ({few(net.features)})'
                 for side, net in (('student', student), ('teacher', teacher))]
        raise ConfigError(f'FCFD: {" and ".join(sides)}; name as many in student_stages as in '
                          'teacher_stages')
    if student.classes != teacher.classes:
        raise ConfigError(f'FCFD: the student has {student.classes} classes, the teacher '
                          f'{teacher.classes}; they must agree')
