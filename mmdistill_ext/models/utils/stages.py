"""Which modules of a backbone its stages end with."""
import re
from typing import List

from mmcv.cnn import ConvModule
from torch import nn

from ...errors import ConfigError

# Where backbones keep what they run through in a row: a list of modules, or of their names.
ROWS = ('stages', 'network', 'layers', 'blocks', 'encoder', 'xca_layers',
        'features')
# Stages that are attributes: RepVGG's and MobileOne's, VAN's, InceptionV3's.
NUMBERED = re.compile(r'(stage_?|blocks|Mixed_)\d+[a-z]?')


def default_stages(backbone: nn.Module, what: str = 'stages') -> List[str]:
    """Candidates for the ends of stages, for mmpretrain's backbones and this project's.

    Of more than four, the last one of those that give maps of one size counts, and the last four
    in all; of more of one size, as in a plain transformer, four that part them equally. A final
    convolution that only widens the feature belongs to the classifier.
    """
    row = next((row for name in ROWS if (row := getattr(backbone, name, None))
                and (isinstance(row, (nn.ModuleList, nn.Sequential)) or _are_names(row))), None)
    numbered = [name for name, _ in backbone.named_children() if NUMBERED.fullmatch(name)]
    if hasattr(backbone, 'res_layers'):  # ResNet, RegNet
        names = backbone.res_layers
    elif hasattr(backbone, 'range_sub_modules'):  # VGG
        names = [f'{backbone.module_name}.{stop - 1}' for _, stop in backbone.range_sub_modules]
    elif hasattr(backbone, 'outputs'):  # this project's
        names = [name for name in backbone.outputs if name.startswith('layer')]
    elif isinstance(row, nn.Module):  # ConvNeXt, Swin, ShuffleNet, ViT
        own = next(name for name, module in backbone.named_children() if module is row)
        names = [f'{own}.{index}' for index in range(len(row))]
    else:  # MobileNet's are names
        names = list(row or numbered)
    modules = [(name, backbone.get_submodule(name)) for name in names]
    # A ModuleList is never called: its last module is.
    names = [f'{name}.{len(module) - 1}' if isinstance(module, nn.ModuleList) else name
             for name, module in modules if not isinstance(module, ConvModule)]
    if not names:
        raise ConfigError(f'{what}: no default for {type(backbone).__name__}; name modules that '
                          "all of the network goes through, such as 'backbone.layer1'")
    return [f'backbone.{name}' for name in names]


def _are_names(row) -> bool:
    return isinstance(row, (list, tuple)) and all(isinstance(name, str) for name in row)


def fcfd_stages(backbone: nn.Module, what: str = 'stages') -> List[str]:
    """Where FCFD's authors cut this project's CIFAR networks; else :func:`default_stages`."""
    names = getattr(backbone, 'fcfd_stages', ())
    return [f'backbone.{name}' for name in names] or default_stages(backbone, what)
