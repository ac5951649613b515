"""Which modules of a backbone its stages end with."""
from typing import List

from mmcv.cnn import ConvModule
from torch import nn

from ...errors import ConfigError


def default_stages(backbone: nn.Module, what: str = 'stages') -> List[str]:
    """Candidates for the ends of stages, for mmpretrain's backbones and this project's.

    Of more than four, the last one of those that give maps of one size counts, and the last four
    in all. A final convolution that only widens the feature belongs to the classifier.
    """
    layers = getattr(backbone, 'layers', ())
    if hasattr(backbone, 'res_layers'):  # ResNet, RegNet
        names = backbone.res_layers
    elif hasattr(backbone, 'range_sub_modules'):  # VGG
        names = [f'{backbone.module_name}.{stop - 1}' for _, stop in backbone.range_sub_modules]
    elif hasattr(backbone, 'outputs'):  # this project's
        names = [name for name in backbone.outputs if name.startswith('layer')]
    elif hasattr(backbone, 'stages'):  # ConvNeXt, Swin
        names = [f'stages.{index}' for index in range(len(backbone.stages))]
    elif isinstance(layers, nn.ModuleList):  # ShuffleNet
        names = [f'layers.{index}' for index, layer in enumerate(layers)
                 if not isinstance(layer, ConvModule)]
    elif layers:  # MobileNet
        names = [name for name in layers if not isinstance(getattr(backbone, name), ConvModule)]
    else:
        raise ConfigError(f'{what}: no default for {type(backbone).__name__}; name the modules '
                          "that its stages end with, such as 'backbone.layer1'")
    return [f'backbone.{name}' for name in names]


def fcfd_stages(backbone: nn.Module, what: str = 'stages') -> List[str]:
    """Where FCFD's authors cut this project's CIFAR networks; else :func:`default_stages`."""
    names = getattr(backbone, 'fcfd_stages', ())
    return [f'backbone.{name}' for name in names] or default_stages(backbone, what)
