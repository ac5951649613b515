"""VGG (Simonyan and Zisserman 2015) with BatchNorm for 32x32."""
from typing import List

from mmengine.registry import MODELS
from torch import nn

from mmdistill_ext.errors import ConfigError

from .staged import KAIMING, StagedBackbone

CONVS = {8: 1, 13: 2}  # convolutions a block
WIDTHS = (64, 128, 256, 512, 512)


def block(in_channels: int, out_channels: int, convs: int, pool: bool) -> nn.Sequential:
    """2x2 max pooling and 3x3 convolutions (with bias), each with BatchNorm and ReLU."""
    layers: List[nn.Module] = []
    for _ in range(convs):
        layers += [nn.Conv2d(in_channels, out_channels, 3, padding=1),
                   nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
        in_channels = out_channels
    stage = nn.Sequential()
    if pool:
        stage.add_module('pool', nn.MaxPool2d(2))
    stage.add_module('convs', nn.Sequential(*layers))
    return stage


@MODELS.register_module()
class CIFARVGG(StagedBackbone):
    """VGG for 32x32: five blocks, of which the first is the stem.

    Named children in order: ``stem``, ``layer1`` .. ``layer4`` with strides 1, 2, 4, 8, 8; every
    one ends in a ReLU, and a stage begins with its pooling.

    Args:
        depth (int): 8 or 13.
        init_cfg (dict | Sequence[dict]): Initialization. Defaults to Kaiming.
        kwargs: ``out_indices`` (0 to 3), ``frozen_stages``, ``norm_eval`` of
            :class:`StagedBackbone`.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.backbones import CIFARVGG
        >>> network = CIFARVGG(8, out_indices=(0, 1, 2, 3))
        >>> [tuple(feature.shape) for feature in network(torch.rand(1, 3, 32, 32))]
        [(1, 128, 16, 16), (1, 256, 8, 8), (1, 512, 4, 4), (1, 512, 4, 4)]
    """

    def __init__(self, depth: int, init_cfg=KAIMING, **kwargs) -> None:
        if depth not in CONVS:
            raise ConfigError(f'CIFARVGG: depth is {depth}, expected 8 or 13')
        stem, *stages = (
            block(cin, cout, CONVS[depth], pool)
            for cin, cout, pool in zip((3, *WIDTHS), WIDTHS, (False, True, True, True, False)))
        super().__init__(stem, stages, init_cfg=init_cfg, **kwargs)
        before_relu = 3 * CONVS[depth] - 2  # the last BatchNorm of a block
        self.fcfd_stages = [f'{name}.convs.{before_relu}' for name in self.outputs]
