"""Public checkpoints: the network of each and how its tensor names map.

RepDistiller's CIFAR-100 networks were trained on inputs of mean (0.5071, 0.4867, 0.4408) and
standard deviation (0.2675, 0.2565, 0.2761), RGB scaled to [0, 1]; logits are the same only on such
inputs. Torchvision's ImageNet ResNets take what mmpretrain's ImageNet configs give.
"""
import re
from functools import lru_cache
from typing import Dict, NamedTuple, Optional, Tuple

from mmengine.registry import MODELS
from torch import Tensor

from ...checkpoints.keys import compare
from ...errors import ConfigError, nearest

Rules = Tuple[Tuple[str, str], ...]


class Network(NamedTuple):
    """The network here that a public checkpoint converts to."""
    backbone: dict
    channels: int  # that reach the classifier
    rules: Rules  # regular expressions, our tensor name -> theirs
    classes: int = 100


# layers of conv, BatchNorm (and ReLU) that RepDistiller has at the top level
_CONV1 = ((r'^stem\.0\.', 'conv1.'), (r'^stem\.1\.', 'bn1.'))
_TAIL = ((r'^tail\.0\.', 'conv2.'), (r'^tail\.1\.', 'bn2.'))
_RESNET = (*_CONV1, (r'^head\.', ''))
_RESNET50 = ((r'\.downsample\.', '.shortcut.'), (r'^head\.fc\.', 'linear.'))
_WRN = ((r'^stem\.', 'conv1.'), (r'^layer3\.bn\.', 'bn1.'), (r'^layer(\d)\.', r'block\1.layer.'),
        (r'\.shortcut\.', '.convShortcut.'), (r'^head\.', ''))
_VGG = ((r'^stem\.convs\.', 'block0.'), (r'^layer(\d)\.convs\.', r'block\1.'),
        (r'^head\.fc\.', 'classifier.'))
_MOBILENET = ((r'^stem\.', 'conv1.'), (r'^tail\.', 'conv2.'), (r'^head\.fc\.', 'classifier.0.'),
              (r'^layer1\.', 'blocks.'), (r'^layer2\.0\.', 'blocks.2.'),
              (r'^layer3\.0\.', 'blocks.3.'), (r'^layer3\.1\.', 'blocks.4.'),
              (r'^layer4\.0\.', 'blocks.5.'), (r'^layer4\.1\.', 'blocks.6.'))
_SHUFFLE = (*_CONV1, *_TAIL, (r'^head\.fc\.', 'linear.'))


def _resnet(depth, channels):
    return Network(dict(type='CIFARResNet', depth=depth), channels, _RESNET)


def _wrn(depth, widen_factor):
    backbone = dict(type='CIFARWideResNet', depth=depth, widen_factor=widen_factor)
    return Network(backbone, 64 * widen_factor, _WRN)


NETWORKS: Dict[str, Network] = {
    'resnet20': _resnet(20, 64),
    'resnet32': _resnet(32, 64),
    'resnet56': _resnet(56, 64),
    'resnet110': _resnet(110, 64),
    'resnet8x4': _resnet('8x4', 256),
    'resnet32x4': _resnet('32x4', 256),
    'ResNet50': Network(dict(type='mmpretrain.ResNet_CIFAR', depth=50), 2048, _RESNET50),
    'wrn_16_2': _wrn(16, 2),
    'wrn_40_1': _wrn(40, 1),
    'wrn_40_2': _wrn(40, 2),
    'vgg8': Network(dict(type='CIFARVGG', depth=8), 512, _VGG),
    'vgg13': Network(dict(type='CIFARVGG', depth=13), 512, _VGG),
    'MobileNetV2': Network(dict(type='CIFARMobileNetV2', widen_factor=0.5), 1280, _MOBILENET),
    'ShuffleV1': Network(dict(type='CIFARShuffleNetV1'), 960, _SHUFFLE),
    'ShuffleV2': Network(dict(type='CIFARShuffleNetV2'), 1024, _SHUFFLE),
}

TORCHVISION: Dict[str, Network] = {
    f'resnet{depth}': Network(dict(type='mmpretrain.ResNet', depth=depth), channels,
                              ((r'^head\.', ''), ), classes=1000)
    for depth, channels in ((34, 512), (50, 2048))}
ALL = {**NETWORKS, **TORCHVISION}


def classifier_cfg(name: str) -> dict:
    """The ``ImageClassifier`` that a converted checkpoint is for."""
    network = ALL[name]
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(network.backbone),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=network.classes,
                  in_channels=network.channels))


@lru_cache(maxsize=None)
def public_tensors(name: str) -> Dict[str, Tuple[str, Tuple[int, ...]]]:
    """Every tensor of a network's public checkpoint.

    Args:
        name (str): One of ``NETWORKS`` or ``TORCHVISION``.

    Returns:
        dict: Their tensor name -> our tensor name, shape.
    """
    import mmpretrain.models  # noqa: F401  only a conversion needs it
    tensors = {}
    for key, tensor in MODELS.build(classifier_cfg(name)).state_dict().items():
        theirs = re.sub(r'^backbone\.', '', key)
        for pattern, replacement in ALL[name].rules:
            theirs = re.sub(pattern, replacement, theirs)
        tensors[theirs] = key, tuple(tensor.shape)
    return tensors


def convert(state: Dict[str, Tensor],
            name: Optional[str] = None,
            networks: Dict[str, Network] = NETWORKS) -> Tuple[str, Dict[str, Tensor]]:
    """Rename the tensors of a public checkpoint.

    Args:
        state (dict): RepDistiller's or torchvision's state dict, their tensor names.
        name (str, optional): One of ``networks``. Defaults to the one whose names and shapes
            these are.
        networks (dict): ``NETWORKS`` (RepDistiller's, the default) or ``TORCHVISION``.

    Returns:
        tuple: The network's name and the state dict of :func:`classifier_cfg`.
    """
    if name is not None and name not in networks:
        raise ConfigError(f'no network {name!r}: {nearest(name, networks)}')
    candidates = networks if name is None else [name]
    differences = {key: compare({theirs: shape for theirs, (_, shape) in
                                 public_tensors(key).items()}, state) for key in candidates}

    def rank(key: str) -> Tuple[int, int, str]:
        """The one with most of these tensors, and of those the one with least beside them."""
        missing, _, misshapen = difference = differences[key]
        return len(missing) + len(misshapen) - len(public_tensors(key)), difference.count, key

    found = min(differences, key=rank)
    if differences[found].count:
        what = 'the nearest network is' if name is None else 'these are not the tensors of'
        raise ConfigError(f'{what} {found}: {differences[found]}')
    return found, {ours: state[key] for key, (ours, _) in public_tensors(found).items()}
