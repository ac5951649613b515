"""In which precision losses are computed, whatever the features are in."""
import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` in float32, or as it is in float64."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
