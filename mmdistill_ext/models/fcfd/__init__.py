"""FCFD, function-consistent feature distillation: all of the method lies in this folder."""
from . import dense_heads  # noqa: F401, to be registered
from .bridges import FCFDBridge
from .dense import FCFDDense
from .distill import FCFDDistill
from .head_losses import DenseAnswerLoss, PixelAnswerLoss, RoIAnswerLoss
from .online import FCFDOnline
from .roi import FCFDRoI
from .seg import FCFDSeg
from .simkd import FCFDSimKD, SimKDProjector

__all__ = [
    'DenseAnswerLoss', 'FCFDBridge', 'FCFDDense', 'FCFDDistill', 'FCFDOnline', 'FCFDRoI',
    'FCFDSeg', 'FCFDSimKD', 'PixelAnswerLoss', 'RoIAnswerLoss', 'SimKDProjector'
]
