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
    """Class logits ``[N, classes, H, W]`` at the head's own resolution: what ``conv_seg`` gives."""

    place = 'decode_head'
    recorders = dict(outputs=dict(type='ModuleOutputs', source='decode_head.conv_seg'))

    def signature(self) -> Signature:
        """The classes."""
        if not hasattr(self.head, 'conv_seg'):
            raise ConfigError(f'{self.who} has no conv_seg; expected a head that ends in it')
        if self.head.out_channels == 1:
            raise ConfigError(f'{self.who} gives one channel for two classes; expected '
                              'out_channels=2')
        return Signature(self.head.out_channels)

    @property
    def stages(self) -> List[int]:
        """The outputs of the backbone (or neck) that the head reads."""
        index = self.head.in_index
        return [index] if isinstance(index, int) else list(index)

    def features(self, output: Any) -> List[Tensor]:
        """The stages that the head reads."""
        if isinstance(output, Tensor):
            raise ConfigError(f'{self.who} reads stages, but in evaluation mode the backbone gives '
                              f'one tensor {list(output.shape)}; expected a backbone that gives '
                              'the same in training and in evaluation')
        return [output[stage] for stage in self.stages]

    def bridge(self, source: Tensor, target: Tensor) -> FCFDBridge:
        """Ends with LeakyReLU where the target comes out of a ReLU, as a backbone's stage does."""
        return FCFDBridge(source.shape[1], target.shape[1], post_relu=bool(target.min() >= 0))

    def head_outputs(self, features: List[Tensor]) -> Tensor:
        """Class logits from the stages, ``[N, C, H, W]`` each."""
        logits: List[Tensor] = []
        # Some heads return more than these (DANet, EncNet); their loss takes the same.
        with self.head.conv_seg.register_forward_hook(lambda *call: logits.append(call[-1])):
            self.head(dict(zip(self.stages, features)))  # which takes its stages by their index
        return logits[-1]

    def recorded(self, records: Dict[str, list]) -> Tuple[Tensor, tuple]:
        """The logits that the student's loss was computed from."""
        return records['outputs'][-1], ()


@HEADS.register_module(name='DepthwiseSeparableASPPHead')
class LowLevelHead(DecodeHead):
    """DeepLabV3+: reads the first stage too."""

    @property
    def stages(self) -> List[int]:
        return [0, *super().stages] if self.head.c1_bottleneck is not None else super().stages


@HEADS.register_module(name=['IterativeDecodeHead', 'MaskFormerHead', 'Mask2FormerHead',
                             'SegmenterMaskTransformerHead', 'SideAdapterCLIPHead'])
class QueryHead(DecodeHead):
    """KNet, MaskFormer, Mask2Former, Segmenter, SAN: refused."""
    comparable = False

    def signature(self) -> Signature:
        raise ConfigError(f'{self.who} predicts the masks of queries, and the query of one network '
                          'is not that of another; expected a head with one map for each class, '
                          'such as SegformerHead')


@MODELS.register_module()
class FCFDSeg(FCFDHead):
    """Segmentors whose decode head gives a map for each class: PSPNet, UPerNet, SegFormer, ...

    The features are the stages that the head reads, with a bridge for each. Outputs are the class
    logits at the head's own resolution; the term is ``_kl``, the mean over the pixels. Each path
    through a head has BatchNorm statistics of its own.

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
