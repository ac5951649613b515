"""FCFD for two-stage detectors: features are compared through the RoI head."""
from dataclasses import dataclass
from inspect import signature as arguments_of
from typing import Dict, List, Tuple

import torch
from mmrazor.registry import MODELS
from torch import Tensor, nn

from ...errors import ConfigError
from .head import FCFDHead
from .head_checks import check_one_softmax
from .head_contract import HEADS, HeadContract, Signature

RoIOutputs = Tuple[Tensor, Tensor]  # class logits [R, classes + 1], deltas [R, 4 or 4 * classes]
ARGUMENTS = dict(student=[['x', 'rois']], teacher=[['x', 'rois'], ['stage', 'x', 'rois']])


@dataclass(frozen=True)
class RoISignature(Signature):
    """What two RoI heads must agree in."""
    featmap_strides: List[int]
    reg_class_agnostic: bool
    bbox_coder: str


@HEADS.register_module(name=['StandardRoIHead', 'CascadeRoIHead'])
class RoIHead(HeadContract[RoIOutputs]):
    """Class logits and box deltas of the proposals; of a cascade those of its last stage."""

    place = 'roi_head'
    recorders = dict(inputs=dict(type='ModuleInputs', source='roi_head.bbox_roi_extractor'),
                     outputs=dict(type='ModuleOutputs', source='roi_head.bbox_head'))
    example_inputs = (torch.tensor([[0., 0., 0., 40., 40.], [1., 8., 8., 120., 120.]]), )

    def signature(self) -> RoISignature:
        """Levels, classes and boxes."""
        arguments = list(arguments_of(self.head._bbox_forward).parameters)
        if arguments not in ARGUMENTS[self.side]:
            kinds = ' or CascadeRoIHead' if self.side == 'teacher' else ''
            raise ConfigError(f'{self.who} takes {", ".join(arguments)}; expected a head that is '
                              f'called as StandardRoIHead{kinds}')
        box_head = self.box_head
        check_one_softmax(self.label, box_head)
        if not (box_head.with_cls and box_head.with_reg):
            raise ConfigError(f"{self.who} has a {type(box_head).__name__} without "
                              f"{'box deltas' if box_head.with_cls else 'classes'}; expected "
                              'with_cls=True and with_reg=True')
        if getattr(box_head.loss_cls, 'use_sigmoid', False):  # the KL needs classes that exclude
            raise ConfigError(f'{self.who} classifies with sigmoid; expected softmax')
        return RoISignature(
            box_head.num_classes, list(_last(self.head.bbox_roi_extractor).featmap_strides),
            box_head.reg_class_agnostic, type(box_head.bbox_coder).__name__)

    @property
    def box_head(self) -> nn.Module:
        return _last(self.head.bbox_head)

    def levels_read(self) -> int:
        """Of five levels of an FPN, the usual RoI head reads four."""
        return self.head.bbox_roi_extractor.num_inputs

    def head_outputs(self, features: List[Tensor], rois: Tensor) -> RoIOutputs:
        """Class logits and deltas.

        Args:
            features (list[Tensor]): Level by level ``[N, C, H, W]``.
            rois (Tensor): ``[R, 5]``.
        """
        head = self.head
        stage = (head.num_stages - 1, ) if isinstance(head.bbox_head, nn.ModuleList) else ()
        results = head._bbox_forward(*stage, tuple(features), rois)
        return results['cls_score'], results['bbox_pred']

    def rescaled(self, outputs: RoIOutputs, other: HeadContract) -> RoIOutputs:
        """The deltas as the box coder of the other head would have them."""
        logits, deltas = outputs
        own, new = self.box_head.bbox_coder, _last(other.head.bbox_head).bbox_coder
        scales = [tuple(scale) for scale in (own.means, own.stds, new.means, new.stds)]
        if scales[:2] == scales[2:]:
            return outputs
        means, stds, new_means, new_stds = map(deltas.new_tensor, scales)
        boxes = deltas.unflatten(1, (-1, 4))
        return logits, ((boxes * stds + means - new_means) / new_stds).flatten(1)

    def recorded(self, records: Dict[str, list]) -> Tuple[RoIOutputs, tuple]:
        """What the student's box loss was computed from, and its proposals.

        A sampler that looks for hard examples runs the head too; the loss comes last.
        """
        _, rois = records['inputs'][-1]
        return records['outputs'][-1], (rois, )


@MODELS.register_module()
class FCFDRoI(FCFDHead):
    """Faster R-CNN and Mask R-CNN students; a teacher whose RoI head is called in the same way.

    All four runs of a RoI head see the same proposals: those that the student sampled for its own
    box loss in this step. Outputs are class logits and box deltas; the terms are ``_cls`` and
    ``_box``. Of a Cascade teacher the last stage runs. Where the two box coders are scaled
    differently, deltas are compared in the student's scale.

    Args:
        loss_func (dict): Compares the outputs of two heads.
        kwargs: All others of ``FCFDHead``.

    Examples:
        >>> model = dict(
        ...     _scope_='mmrazor', type='FCFDRoI',
        ...     architecture=dict(
        ...         cfg_path='mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', pretrained=False),
        ...     teacher=dict(
        ...         cfg_path='mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py',
        ...         pretrained=False),
        ...     teacher_ckpt='faster-rcnn_r101.pth')
    """

    contract = RoIHead

    def __init__(self,
                 loss_func: dict = dict(type='RoIAnswerLoss'),  # noqa: B006
                 **kwargs) -> None:
        super().__init__(loss_func=loss_func, **kwargs)


def _last(stages: nn.Module) -> nn.Module:
    """Of a cascade the last stage."""
    return stages[-1] if isinstance(stages, nn.ModuleList) else stages
