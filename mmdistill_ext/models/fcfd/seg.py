"""FCFD for semantic segmentation: features are compared through the decode head."""
from typing import Any, Dict, List, Tuple

from mmrazor.registry import MODELS
from torch import Tensor

from ...errors import ConfigError
from .bridges import FCFDBridge
from .head import FCFDHead
from .head_contract import HEADS, HeadContract, Signature


@HEADS.register_module(name='BaseDecodeHead')
class DecodeHead(HeadContract[Tensor]):
    """Class logits ``[N, classes, H, W]`` at the head's own resolution."""

    place = 'decode_head'
    recorders = dict(outputs=dict(type='ModuleOutputs', source='decode_head.conv_seg'))

    def signature(self) -> Signature:
        """The classes."""
        head = self.head
        if not isinstance(head.in_index, int):
            raise ConfigError(f'{self.who} reads the stages {list(head.in_index)}; expected one '
                              'stage')
        if head.out_channels == 1:
            raise ConfigError(f'{self.who} gives one channel for two classes; expected '
                              'out_channels=2')
        return Signature(head.out_channels)

    def features(self, output: Any) -> List[Tensor]:
        """The stage that the head reads."""
        return [output[self.head.in_index]]

    def bridge(self, source: Tensor, target: Tensor) -> FCFDBridge:
        """Ends with LeakyReLU where the target comes out of a ReLU, as a backbone's stage does."""
        return FCFDBridge(source.shape[1], target.shape[1], post_relu=bool(target.min() >= 0))

    def head_outputs(self, features: List[Tensor]) -> Tensor:
        """Class logits from ``[N, C, H, W]``."""
        return self.head({self.head.in_index: features[0]})  # which takes its stage by its index

    def recorded(self, records: Dict[str, list]) -> Tuple[Tensor, tuple]:
        """The logits that the student's loss was computed from."""
        return records['outputs'][0], ()


@MODELS.register_module()
class FCFDSeg(FCFDHead):
    """Segmentors whose decode head reads one stage of the backbone, such as PSPNet and DeepLabV3.

    Outputs are the class logits at the head's own resolution; the term is ``_kl``, the mean over
    the pixels. Each path through a head has BatchNorm statistics of its own.

    Args:
        loss_func (dict): Compares the outputs of two heads.
        kwargs: All others of ``FCFDHead``.

    Examples:
        >>> model = dict(
        ...     _scope_='mmrazor', type='FCFDSeg',
        ...     architecture=dict(
        ...         cfg_path='mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py',
        ...         pretrained=False),
        ...     teacher=dict(
        ...         cfg_path='mmseg::pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py',
        ...         pretrained=False),
        ...     teacher_ckpt='pspnet_r50.pth')
    """

    contract = DecodeHead

    def __init__(self,
                 loss_func: dict = dict(type='PixelAnswerLoss'),  # noqa: B006
                 **kwargs) -> None:
        super().__init__(loss_func=loss_func, **kwargs)
