"""SimKD's projector (Chen et al. 2022): what lets a student use its teacher's classifier."""
from typing import Tuple

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

NORM, ACT = dict(type='BN'), dict(type='ReLU')


@MODELS.register_module()  # the root, where mmpretrain finds it: it is a neck of the student
class SimKDProjector(BaseModule):
    """1x1, 3x3, 1x1 convolutions by way of half the channels, each with BatchNorm and ReLU.

    Stands before the pooling of a classifier, as in
    ``neck=[dict(type='SimKDProjector', ...), dict(type='GlobalAveragePooling')]``.

    Args:
        in_channels (int): Channels of the student's last stage.
        out_channels (int): Channels of the teacher's last stage.
        init_cfg (dict, optional): Initialization. Defaults to PyTorch's own.
    """

    def __init__(self, in_channels: int, out_channels: int, init_cfg=None) -> None:
        super().__init__(init_cfg)
        hidden, settings = out_channels // 2, dict(norm_cfg=NORM, act_cfg=ACT)
        self.convs = nn.Sequential(
            ConvModule(in_channels, hidden, 1, **settings),
            ConvModule(hidden, hidden, 3, padding=1, **settings),
            ConvModule(hidden, out_channels, 1, **settings))

    def forward(self, inputs: Tuple[Tensor, ...]) -> Tuple[Tensor]:
        """The last of the backbone's features, ``[N, in_channels, H, W]`` -> a tuple of one,
        ``[N, out_channels, H, W]``."""
        return self.convs(inputs[-1]),
