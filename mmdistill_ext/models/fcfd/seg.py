"""FCFD for semantic segmentation: the decode head is the lens."""
from typing import Any, Dict, List, Tuple

from mmrazor.registry import MODELS
from torch import Tensor

from ...errors import ConfigError
from .bridges import FCFDBridge
from .head import FCFDHead


@MODELS.register_module()
class FCFDSeg(FCFDHead):
    """Segmentors whose decode head reads one stage of the backbone, such as PSPNet and DeepLabV3.

    Answers are the class logits at the head's own resolution; the term is ``_kl``, the mean over
    the pixels. Each path through a head has BatchNorm statistics of its own.

    Args:
        loss_func (dict): Compares two answers.
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

    head_name = 'decode_head'
    own = dict(answered=dict(type='ModuleOutputs', source='decode_head.conv_seg'))

    def __init__(self,
                 loss_func: dict = dict(type='PixelAnswerLoss'),  # noqa: B006
                 **kwargs) -> None:
        super().__init__(loss_func=loss_func, **kwargs)

    def facts(self, side: str) -> Dict[str, Any]:
        """The classes."""
        head = self.head(side)
        whose = f"{type(self).__name__}: the {side}'s {type(head).__name__}"
        if not isinstance(head.in_index, int):
            raise ConfigError(f'{whose} reads the stages {list(head.in_index)}; a head that reads '
                              'one would fit')
        if head.out_channels == 1:
            raise ConfigError(f'{whose} gives one channel for two classes; out_channels=2 would '
                              'fit')
        return {'the number of classes': head.out_channels}

    def features(self, side: str, output: Any) -> List[Tensor]:
        """The stage that the head reads."""
        return [output[self.head(side).in_index]]

    def bridge(self, source: Tensor, target: Tensor) -> FCFDBridge:
        """Ends with LeakyReLU where the target comes out of a ReLU, as a backbone's stage does."""
        return FCFDBridge(source.shape[1], target.shape[1], post_relu=bool(target.min() >= 0))

    def answer(self, side: str, features: List[Tensor]) -> Tensor:
        """Class logits ``[N, classes, H, W]`` from ``[N, C, H, W]``."""
        head = self.head(side)
        return head({head.in_index: features[0]})  # which takes its stage from it by index

    def own_answer(self, records: Dict[str, list]) -> Tuple[Tensor, tuple]:
        """The logits that the student's loss was computed from."""
        return records['answered'][0], ()
