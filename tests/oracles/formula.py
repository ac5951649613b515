"""What the authors' code gave (``data/*.npz``), and the formula of the weights and images it got.

A file keeps of a tensor ``[norm, product]``: its 2-norm, and its dot product with a fixed tensor of
its shape; NaN where there is no gradient. docs/fidelity.md says what is compared.
"""
import zlib
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

DATA = Path(__file__).parent / 'data'
# How far a number may be from theirs, in parts of it. Both sides compute in float64; the order of
# additions differs. docs/fidelity.md quotes these.
NETWORK, TERMS, TENSORS, STEPS = 1e-12, 1e-11, 1e-10, 1e-8


def tensor_of(name: str, shape: Iterable[int], seed: int = 0) -> Tensor:
    """A float32 tensor that its name, its shape and a seed define."""
    shape = tuple(map(int, shape))
    if name.endswith('num_batches_tracked'):
        return torch.zeros(shape, dtype=torch.long)
    random = np.random.RandomState(zlib.crc32(f'{seed}:{name}'.encode()) & 0xffffffff)
    if len(shape) > 1:  # a convolution or linear layer: variance 2 / fan-in
        value = random.standard_normal(shape) * (2 / np.prod(shape[1:]))**0.5
    elif name.endswith(('weight', 'running_var')):
        value = random.uniform(0.5, 1.5, shape)
    else:
        value = random.standard_normal(shape) * 0.1
    return torch.from_numpy(np.asarray(value, np.float32))


def images_of(number: int, shape: Iterable[int]) -> Tensor:
    """Normalised images, ``[N, 3, H, W]`` in float64."""
    random = np.random.RandomState(1000 + number)
    images = random.standard_normal(tuple(map(int, shape))).astype(np.float32)
    return torch.from_numpy(images).double()


def labels_of(number: int, count: int, classes: int) -> List[int]:
    return np.random.RandomState(2000 + number).randint(0, classes, count).tolist()


def shapes_of(names: np.ndarray, shapes: np.ndarray) -> Dict[str, Tuple[int, ...]]:
    """Of the authors' tensors, in their order; a shape is kept as ``'64,3,7,7'``."""
    return {str(name): tuple(int(size) for size in str(shape).split(',') if size)
            for name, shape in zip(names, shapes)}


def fill(module: torch.nn.Module, name: Callable[[str], str], seed: int = 0) -> None:
    """The formula's values into parameters and buffers.

    Args:
        module (nn.Module): What is filled.
        name (Callable): From a tensor's name in it to the formula's.
        seed (int): The formula's.
    """
    with torch.no_grad():
        for key, value in module.state_dict().items():
            value.copy_(tensor_of(name(key), value.shape, seed))


def unequal_numbers(mine: Dict[str, float], theirs: Dict[str, float], rtol: float = TERMS
                    ) -> List[str]:
    """What is missing, what they do not have, and what differs."""
    return [*(f'{key} is missing' for key in theirs if key not in mine),
            *(f'{key} is not theirs' for key in mine if key not in theirs),
            *(f'{key} {mine[key]:.12g} for {theirs[key]:.12g}' for key in theirs
              if key in mine and not abs(mine[key] - theirs[key]) <= rtol * abs(theirs[key]))]


def unequal_tensors(names: np.ndarray, theirs: np.ndarray,
                    mine: Callable[[str], Optional[Tensor]], rtol: float = TENSORS) -> List[str]:
    """The tensors whose norm or product is not theirs.

    ``rtol`` is of a tensor's norm; of 1e-6 times all norms where the tensor's is smaller, as in the
    gradient of a convolution's bias before a BatchNorm, which is 0 but for rounding.

    Args:
        names (np.ndarray): Their names of the tensors.
        theirs (np.ndarray): ``[len(names), 2]``.
        mine (Callable): From their name to our tensor; None is as good as zeros.
        rtol (float): In parts of the norm.
    """
    theirs, wrong = np.nan_to_num(theirs), []
    least = 1e-6 * np.linalg.norm(theirs[:, 0])
    for name, (norm, product) in zip(map(str, names), theirs):
        found = mine(name)
        value = torch.zeros(1) if found is None else found.detach().double()
        other = tensor_of(f'probe.{name}', value.shape).double()
        own = value.norm().item(), (value * other).sum().item()
        limit = rtol * max(norm, least)
        if not (abs(own[0] - norm) <= limit
                and abs(own[1] - product) <= limit * value.numel()**0.5):
            wrong.append(f'{name} |{own[0]:.12g}| for |{norm:.12g}|')
    return wrong
