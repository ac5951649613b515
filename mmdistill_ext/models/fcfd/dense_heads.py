"""The dense heads of mmdet that FCFD knows: what the boxes of each are, and what is beside them.

mmdet's heads return class maps and boxes, some a third map. A distance or a corner is given in
strides of its level, in which all levels count alike.
"""
from dataclasses import dataclass
from typing import Any, List, Sequence, Tuple

from torch import Tensor

from ...errors import ConfigError
from ..losses.distances import at_least_float32
from .dense import DenseHead, DenseSignature
from .dense_loss import DenseForm, DenseOutputs
from .head_contract import HEADS


@dataclass(frozen=True)
class AnchorSignature(DenseSignature):
    """What two heads with anchors must agree in."""
    base_sizes: List[int]
    scales: List[float]
    ratios: List[float]
    bbox_coder: Tuple[Any, ...]


@HEADS.register_module(name=['RetinaHead', 'RetinaSepBNHead', 'FSAFHead', 'YOLOFHead'])
class AnchorHead(DenseHead):
    """Boxes are deltas to anchors, as the head's box coder has them."""

    def signature(self) -> AnchorSignature:
        """The anchors and the box coder too."""
        common, priors, coder = super().signature(), self.head.prior_generator, self.head.bbox_coder
        units = [getattr(coder, name) for name in ('means', 'stds', 'normalizer')
                 if hasattr(coder, name)]
        return AnchorSignature(
            **vars(common), base_sizes=list(priors.base_sizes), scales=priors.scales.tolist(),
            ratios=priors.ratios.tolist(),
            bbox_coder=(type(coder).__name__,
                        *(tuple(u) if isinstance(u, Sequence) else u for u in units)))


@HEADS.register_module(name='ATSSHead')
class ATSSHead(AnchorHead):
    """Centerness beside them."""
    quality = 'centerness'


@HEADS.register_module(name='PAAHead')
class PAAHead(AnchorHead):
    """The IoU with the object beside them."""
    quality = 'iou'


@HEADS.register_module(name='FCOSHead')
class FCOSHead(DenseHead):
    """Boxes are distances to the sides; centerness beside them."""
    quality = 'centerness'

    def outputs(self, returned: tuple) -> DenseOutputs:
        """With ``norm_on_bbox`` the head's distances are in strides in training only."""
        outputs = super().outputs(returned)
        if self.head.norm_on_bbox and self.head.training:
            return outputs
        return outputs._replace(boxes=self.in_strides(outputs.boxes))


@HEADS.register_module(name=['VFNetHead', 'RTMDetHead', 'RTMDetSepBNHead'])
class DistanceHead(DenseHead):
    """Boxes are distances in pixels; of VFNet the refined ones, which are what it detects."""

    def outputs(self, returned: tuple) -> DenseOutputs:
        """In training VFNet returns its first distances too."""
        return super().outputs((returned[0], self.in_strides(returned[-1])))


@HEADS.register_module(name='GFLHead')
class GFLHead(DenseHead):
    """Boxes are distances in strides, each a distribution over 0 .. reg_max."""

    @property
    def form(self) -> DenseForm:
        return super().form._replace(bins=self.head.reg_max + 1)


@HEADS.register_module(name='TOODHead')
class TOODHead(DenseHead):
    """Classes are probabilities, boxes are corners in strides."""

    def outputs(self, returned: tuple) -> DenseOutputs:
        """With the probabilities as logits."""
        from mmdet.models.layers import inverse_sigmoid
        probabilities, boxes = returned
        logits = [inverse_sigmoid(at_least_float32(p)) for p in probabilities]
        return super().outputs((logits, boxes))


@HEADS.register_module(name='DETRHead')
class QueryDenseHead(DenseHead):
    """DETR and all that derive from it: refused."""
    comparable = False

    def signature(self) -> DenseSignature:
        raise ConfigError(f'{self.who} predicts the boxes of queries, and the query of one network '
                          'is not that of another; expected a head with boxes at each place, such '
                          'as RetinaHead')


@HEADS.register_module(name='YOLOXHead')
class YOLOXHead(DenseHead):
    """Boxes are deltas, in strides and their logarithm; whether there is an object, beside them.

    The classes are learned by cross-entropy, at positives alone.
    """
    quality = 'obj'

    @property
    def form(self) -> DenseForm:
        return super().form._replace(classes='binary')


@dataclass(frozen=True)
class FoveaSignature(DenseSignature):
    """What two FoveaBox heads must agree in."""
    base_edge_list: List[int]


@HEADS.register_module(name='FoveaHead')
class FoveaHead(DenseHead):
    """Boxes are logarithms of distances in base edges, as in the head's own loss."""

    def signature(self) -> FoveaSignature:
        """The base edges too."""
        return FoveaSignature(
            **vars(super().signature()), base_edge_list=list(self.head.base_edge_list))


@dataclass(frozen=True)
class RepPointsSignature(DenseSignature):
    """What two RepPoints heads must agree in."""
    point_base_scale: int


@HEADS.register_module(name='RepPointsHead')
class RepPointsHead(DenseHead):
    """Boxes are those around the refined points, in the unit of the head's own loss."""

    def signature(self) -> RepPointsSignature:
        """The unit too."""
        return RepPointsSignature(
            **vars(super().signature()), point_base_scale=self.head.point_base_scale)

    def outputs(self, returned: tuple) -> DenseOutputs:
        """In training a head returns class maps, first and refined points, else maps and boxes."""
        boxes: List[Tensor] = returned[-1]
        if len(returned) == 3:
            boxes = [self.head.points2bbox(points) for points in boxes]
        return super().outputs(
            (returned[0], [box / self.head.point_base_scale for box in boxes]))
