"""Small tensors that every step needs and none changes."""
from functools import lru_cache
from typing import Callable, Tuple, Union

import torch
from torch import Tensor

Values = Union[float, Tuple[float, ...]]


def made_once(make: Callable) -> Callable:
    """Keep what was made for the same arguments; a compiled graph keeps its own."""
    kept = lru_cache(maxsize=64)(make)

    def made(*arguments):
        if getattr(torch.compiler, 'is_compiling', bool)():
            return make(*arguments)
        with torch.inference_mode(False):  # whoever asks first
            return kept(*arguments)
    return made


@made_once
def constant(values: Values, device: torch.device, dtype: torch.dtype) -> Tensor:
    """On a GPU each would have to be copied there."""
    return torch.tensor(values, device=device, dtype=dtype)
