"""FCFD for one-stage detectors: the dense head is the lens."""
from typing import Any, Dict, List, Tuple

from mmrazor.registry import MODELS
from torch import Tensor

from ...errors import ConfigError
from .head import FCFDHead


@MODELS.register_module()
class FCFDDense(FCFDHead):
    """RetinaNet and RepPoints students with a teacher of the same kind.

    Answers are, level by level, class maps and boxes; the terms are ``_cls`` and ``_box``. Boxes
    are RetinaNet's deltas, and of RepPoints the boxes around the refined points, in the unit of
    the head's own loss.

    Args:
        loss_func (dict): Compares two answers.
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

    head_name = 'bbox_head'
    own = dict(answered=dict(type='ModuleOutputs', source='bbox_head'))

    def __init__(self,
                 loss_func: dict = dict(type='DenseAnswerLoss'),  # noqa: B006
                 **kwargs) -> None:
        super().__init__(loss_func=loss_func, **kwargs)

    def facts(self, side: str) -> Dict[str, Any]:
        """The kind of head, its classes, and where its boxes are."""
        from mmdet.models import RepPointsHead, RetinaHead
        head = self.head(side)
        kind = next((k for k in (RetinaHead, RepPointsHead) if isinstance(head, k)), None)
        if kind is None:
            raise ConfigError(f"{type(self).__name__}: the {side}'s bbox_head is "
                              f'{type(head).__name__}; RetinaHead and RepPointsHead would fit')
        if not head.use_sigmoid_cls:
            raise ConfigError(f"{type(self).__name__}: the {side}'s {type(head).__name__} "
                              'classifies with softmax; use_sigmoid=True in loss_cls would fit')
        priors = head.prior_generator
        facts = {'the kind': kind.__name__, 'the number of classes': head.num_classes,
                 'the strides of the levels': priors.strides}
        if kind is RepPointsHead:
            return {**facts, 'point_base_scale': head.point_base_scale}
        coder = head.bbox_coder
        return {**facts, 'the base sizes of anchors': list(priors.base_sizes),
                'the scales of anchors': priors.scales.tolist(),
                'the ratios of anchors': priors.ratios.tolist(),
                'the box coder': (type(coder).__name__, tuple(coder.means), tuple(coder.stds))}

    def answer(self, side: str, features: List[Tensor]) -> Tuple[List[Tensor], List[Tensor]]:
        """Class logits ``[N, A * classes, H, W]`` and boxes ``[N, A * 4, H, W]`` of each level."""
        return self.boxed(side, self.head(side)(features))

    def boxed(self, side: str, outputs: tuple) -> Tuple[List[Tensor], List[Tensor]]:
        """From what a head gives in its mode, class maps and boxes."""
        head, classes, boxes = self.head(side), outputs[0], outputs[-1]
        if hasattr(head, 'points2bbox'):
            if len(outputs) == 3:  # in training: class maps, first points, refined points
                boxes = [head.points2bbox(points) for points in boxes]
            boxes = [box / head.point_base_scale for box in boxes]
        return classes, boxes

    def own_answer(self, records: Dict[str, list]) -> Tuple[tuple, tuple]:
        """What the student's loss was computed from."""
        return self.boxed('student', records['answered'][0]), ()
