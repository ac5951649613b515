"""FCFD for one-stage detectors: features are compared through the dense head."""
from dataclasses import dataclass
from typing import ClassVar, Dict, List, Optional, Sequence, Tuple

from mmrazor.registry import MODELS
from torch import Tensor

from ...errors import ConfigError
from .dense_loss import DenseForm, DenseOutputs
from .head import FCFDHead
from .head_contract import HeadContract, Signature


@dataclass(frozen=True)
class DenseSignature(Signature):
    """What two dense heads must agree in.

    Args:
        kind (str): The name that the contract is registered under. Signatures of one kind have
            the same fields.
        strides (list[tuple[int, int]]): Of the levels.
        offset (float): Where the priors of a level begin, in strides.
        class_loss (str): The form of the loss that the classes are learned by.
        bins (int): Entries of the distribution that stands for a side of a box.
    """
    kind: str
    strides: List[Tuple[int, int]]
    offset: float
    class_loss: str
    bins: int


class DenseHead(HeadContract[DenseOutputs]):
    """Class maps, boxes, and with some a third branch. ``dense_heads.py`` has one for each kind."""

    place = 'bbox_head'
    recorders = dict(outputs=dict(type='ModuleOutputs', source='bbox_head'))
    quality: ClassVar[Optional[str]] = None  # what the third branch estimates

    @property
    def form(self) -> DenseForm:
        """How the outputs are compared: as the head is trained."""
        varifocal = type(self.head.loss_cls).__name__ == 'VarifocalLoss'
        return DenseForm('varifocal' if varifocal else 'focal', quality=self.quality)

    def signature(self) -> DenseSignature:
        """The kind of head, its classes, and where its priors are."""
        head, base = type(self.head), next(
            base for base in type(self.head).__mro__ if base.__name__ == self.kind)
        for method in ('forward', 'forward_single'):
            if getattr(head, method, None) is not getattr(base, method, None):
                raise ConfigError(
                    f'{self.who} overrides {method} of {self.kind}, so what it returns is not '
                    'known; expected a head with a contract of its own in HEADS')
        if not self.head.use_sigmoid_cls:
            raise ConfigError(f'{self.who} classifies with softmax; expected use_sigmoid=True in '
                              'loss_cls')
        priors, form = self.head.prior_generator, self.form
        offset = priors.offset if hasattr(priors, 'offset') else priors.center_offset
        return DenseSignature(
            self.head.num_classes, self.kind, priors.strides, offset, form.classes, form.bins)

    def head_outputs(self, features: List[Tensor]) -> DenseOutputs:
        """Run the head on the maps of all levels, ``[N, C, H, W]`` each."""
        return self.outputs(self.head(features))

    def outputs(self, returned: tuple) -> DenseOutputs:
        """From what the head returns in its mode."""
        classes, boxes, *quality = map(list, returned)
        return DenseOutputs(classes, boxes, quality[0] if quality else None, self.form)

    def in_strides(self, boxes: Sequence[Tensor]) -> List[Tensor]:
        """From pixels to strides of each level."""
        return [x / stride for x, (stride, _) in zip(boxes, self.head.prior_generator.strides)]

    def recorded(self, records: Dict[str, list]) -> Tuple[DenseOutputs, tuple]:
        """What the student's loss was computed from."""
        return self.outputs(records['outputs'][0]), ()


@MODELS.register_module()
class FCFDDense(FCFDHead):
    """One-stage detectors with a teacher of the same kind: those of ``dense_heads.py``.

    Outputs are, level by level, class maps, boxes and with some heads a third branch; the terms
    are ``_cls``, ``_box`` and ``_centerness``, ``_iou`` or ``_obj``.

    Args:
        loss_func (dict): Compares the outputs of two heads.
        kwargs: All others of ``FCFDHead``.

    Examples:
        >>> model = dict(
        ...     _scope_='mmrazor', type='FCFDDense',
        ...     architecture=dict(
        ...         cfg_path='mmdet::retinanet/retinanet_r18_fpn_1x_coco.py', pretrained=False),
        ...     teacher=dict(
        ...         cfg_path='mmdet::retinanet/retinanet_r50_fpn_2x_coco.py', pretrained=False),
        ...     teacher_ckpt='retinanet_r50.pth')
    """

    contract = DenseHead

    def __init__(self,
                 loss_func: dict = dict(type='DenseAnswerLoss'),  # noqa: B006
                 **kwargs) -> None:
        super().__init__(loss_func=loss_func, **kwargs)
