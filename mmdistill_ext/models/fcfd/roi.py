"""FCFD for two-stage detectors: the RoI head is the lens."""
from inspect import signature
from typing import Any, Dict, List, Tuple

import torch
from mmrazor.registry import MODELS
from torch import Tensor, nn

from ...errors import ConfigError
from .head import SIDES, FCFDHead
from .head_checks import check_one_softmax


@MODELS.register_module()
class FCFDRoI(FCFDHead):
    """Faster R-CNN and Mask R-CNN students; a teacher whose RoI head is called in the same way.

    All four runs of a RoI head see the same proposals: those that the student sampled for its own
    box loss in this step. Answers are class logits and box deltas; the terms are ``_cls`` and
    ``_box``. A Cascade teacher answers with its last stage. Where the two box coders are scaled
    differently, deltas are compared in the student's scale.

    Args:
        loss_func (dict): Compares two answers.
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

    head_name = 'roi_head'
    own = dict(asked=dict(type='ModuleInputs', source='roi_head.bbox_roi_extractor'),
               answered=dict(type='ModuleOutputs', source='roi_head.bbox_head'))
    probe = (torch.tensor([[0., 0., 0., 40., 40.], [1., 8., 8., 120., 120.]]), )

    def __init__(self,
                 loss_func: dict = dict(type='RoIAnswerLoss'),  # noqa: B006
                 **kwargs) -> None:
        super().__init__(loss_func=loss_func, **kwargs)

    def facts(self, side: str) -> Dict[str, Any]:
        """Levels, classes and boxes."""
        head = self.head(side)
        arguments = list(signature(head._bbox_forward).parameters)
        fit = dict(student=[['x', 'rois']], teacher=[['x', 'rois'], ['stage', 'x', 'rois']])[side]
        if arguments not in fit:
            kinds = ' or a CascadeRoIHead' if side == 'teacher' else ''
            raise ConfigError(f"{type(self).__name__}: the {side}'s {type(head).__name__} takes "
                              f'{", ".join(arguments)}; a head called as StandardRoIHead'
                              f'{kinds} is would fit')
        extractor, box_head = _last(head.bbox_roi_extractor), _last(head.bbox_head)
        return {
            'the strides of the levels': list(extractor.featmap_strides),
            'the number of classes': box_head.num_classes,
            'sigmoid instead of softmax': getattr(box_head.loss_cls, 'use_sigmoid', False),
            'reg_class_agnostic': box_head.reg_class_agnostic,
            'the type of the box coder': type(box_head.bbox_coder).__name__}

    def check_heads(self) -> None:
        """As for all heads; and classes must exclude each other, for the KL."""
        for side in SIDES:
            check_one_softmax(f'{type(self).__name__}, {side}', _last(self.head(side).bbox_head))
        super().check_heads()
        if self.facts('student')['sigmoid instead of softmax']:
            raise ConfigError(f'{type(self).__name__}: the RoI heads classify with sigmoid; heads '
                              'with softmax would fit')

    def levels_read(self) -> int:
        """Of five levels of an FPN, the usual RoI head reads four."""
        return self.head('student').bbox_roi_extractor.num_inputs

    def answer(self, side: str, features: List[Tensor], rois: Tensor) -> Tuple[Tensor, Tensor]:
        """Class logits and deltas.

        Args:
            side (str): Whose head.
            features (list[Tensor]): Level by level ``[N, C, H, W]``.
            rois (Tensor): ``[R, 5]``.
        """
        head = self.head(side)
        stage = (head.num_stages - 1, ) if isinstance(head.bbox_head, nn.ModuleList) else ()
        results = head._bbox_forward(*stage, tuple(features), rois)
        deltas = results['bbox_pred']
        return results['cls_score'], self.rescaled(deltas) if side == 'teacher' else deltas

    def rescaled(self, deltas: Tensor) -> Tensor:
        """The teacher's deltas as the student's coder would have them."""
        own, other = (_last(self.head(side).bbox_head).bbox_coder for side in SIDES)
        scales = [tuple(scale) for scale in (other.means, other.stds, own.means, own.stds)]
        if scales[:2] == scales[2:]:
            return deltas
        means, stds, own_means, own_stds = map(deltas.new_tensor, scales)
        boxes = deltas.unflatten(1, (-1, 4))
        return ((boxes * stds + means - own_means) / own_stds).flatten(1)

    def own_answer(self, records: Dict[str, list]) -> Tuple[Tuple[Tensor, Tensor], tuple]:
        """What the student's box loss was computed from, and its proposals.

        A sampler that looks for hard examples runs the head too; the loss comes last.
        """
        _, rois = records['asked'][-1]
        return records['answered'][-1], (rois, )


def _last(stages: nn.Module) -> nn.Module:
    """Of a cascade the last stage."""
    return stages[-1] if isinstance(stages, nn.ModuleList) else stages
