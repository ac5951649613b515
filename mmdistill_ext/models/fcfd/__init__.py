"""FCFD, function-consistent feature distillation: all of the method lies in this folder."""
from . import dense_heads  # noqa: F401, to be registered
from .bridges import FCFDBridge
from .dense import DenseHead, FCFDDense
from .dense_loss import DenseAnswerLoss, DenseOutputs
from .distill import FCFDDistill
from .head_contract import HEADS, HeadContract
from .head_losses import PixelAnswerLoss, RoIAnswerLoss
from .online import FCFDOnline
from .roi import FCFDRoI, RoIHead
from .seg import DecodeHead, FCFDSeg
from .simkd import FCFDSimKD, SimKDProjector

__all__ = [
    'HEADS', 'DecodeHead', 'DenseAnswerLoss', 'DenseHead', 'DenseOutputs', 'FCFDBridge',
    'FCFDDense', 'FCFDDistill', 'FCFDOnline', 'FCFDRoI', 'FCFDSeg', 'FCFDSimKD', 'HeadContract',
    'PixelAnswerLoss', 'RoIAnswerLoss', 'RoIHead', 'SimKDProjector'
]
