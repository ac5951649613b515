"""What all backbones here have in common: a stem and stages, called one after the other."""
from typing import Optional, Sequence, Tuple, Union

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdistill_ext.errors import ConfigError

# Normal with variance 2 / (k * k * out_channels), as in He et al. 2015; biases are zero.
KAIMING = (dict(type='Kaiming', layer='Conv2d'),
           dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']))


class StagedBackbone(BaseModule):
    """A network that is ``stem``, ``layer1`` .. ``layerN`` and, in some, ``tail``.

    These child modules run in this order and nothing happens between them, so a network can be
    cut at any of their names.

    Args:
        stem (nn.Module): The first child.
        stages (Sequence[nn.Module]): ``layer1``, ``layer2`` and so on.
        tail (nn.Module, optional): What stands between the last stage and the pooling.
        out_indices (Sequence[int], optional): The outputs: 0 is ``layer1``, N is ``tail``.
            Defaults to the last one only.
        frozen_stages (int): The stem (0) and so many stages are not trained. Defaults to -1,
            everything is.
        norm_eval (bool): Whether BatchNorm keeps its running statistics in training.
        init_cfg (dict | Sequence[dict], optional): Initialization. Defaults to PyTorch's own.

    Attributes:
        fcfd_stages (Sequence[str]): The modules that FCFD's stages end with by default, where its
            authors cut elsewhere than after each ``layer``. Empty: after each ``layer``.
    """
    fcfd_stages: Sequence[str] = ()

    def __init__(self,
                 stem: nn.Module,
                 stages: Sequence[nn.Module],
                 tail: Optional[nn.Module] = None,
                 out_indices: Optional[Sequence[int]] = None,
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 init_cfg: Union[dict, Sequence[dict], None] = None) -> None:
        super().__init__(list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg)
        self.stem = stem
        for i, stage in enumerate(stages, 1):
            self.add_module(f'layer{i}', stage)
        if tail is not None:
            self.tail = tail
        self.outputs = tuple(name for name in self._modules if name != 'stem')
        last = len(self.outputs) - 1
        self.out_indices = (last, ) if out_indices is None else tuple(out_indices)
        for index in self.out_indices:
            if not 0 <= index <= last:
                raise ConfigError(f'{type(self).__name__}: out_indices has {index}, its outputs '
                                  f'are 0 to {last} ({", ".join(self.outputs)})')
        if not -1 <= frozen_stages <= len(stages):
            raise ConfigError(f'{type(self).__name__}: frozen_stages is {frozen_stages}, '
                              f'expected -1 to {len(stages)}')
        self.frozen = ('stem', *self.outputs)[:frozen_stages + 1]
        for name in self.frozen:
            getattr(self, name).requires_grad_(False)
        self.norm_eval = norm_eval

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """``[N, 3, H, W]`` -> the features of ``out_indices``, shallow to deep."""
        x = self.stem(x)
        outs = []
        for i, name in enumerate(self.outputs):
            x = getattr(self, name)(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def train(self, mode: bool = True) -> 'StagedBackbone':
        """Frozen parts stay in evaluation mode, and with ``norm_eval`` every BatchNorm does."""
        super().train(mode)
        for name in self.frozen:
            getattr(self, name).eval()
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def conv_bn_relu(in_channels: int,
                 out_channels: int,
                 kernel_size: int = 3,
                 stride: int = 1,
                 groups: int = 1) -> nn.Sequential:
    """Convolution without bias, BatchNorm and ReLU; an odd kernel keeps height and width."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2,
                  groups=groups, bias=False),
        nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
