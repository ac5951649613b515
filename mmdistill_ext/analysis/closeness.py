"""How close the student is to its teacher: distances, linear CKA, accuracy of mixed paths."""
import math
from collections import defaultdict
from typing import Dict, Iterable, List

import torch
from mmengine.model import BaseModel
from torch import Tensor

from ..models.fcfd import FCFDDistill
from . import distances, function_consistency
from .pairs import pairs

__all__ = ['linear_cka', 'measure']

PREFIX = 'closeness/'  # of every name in the log


def linear_cka(student: Tensor, teacher: Tensor) -> float:
    """Linear centered kernel alignment (Kornblith et al., ICML 2019): 1 where one is a rotation,
    scaling or shift of the other.

    ``|Y'X|^2 / (|X'X| |Y'Y|)`` with Frobenius norms and the columns of X and Y centered; NaN where
    one of them is constant.

    Args:
        student (Tensor): X, ``[N, C_s]``.
        teacher (Tensor): Y, ``[N, C_t]``.
    """
    x, y = (z.double() - z.double().mean(0) for z in (student, teacher))
    own = (x.T @ x).norm() * (y.T @ y).norm()
    return ((y.T @ x).norm()**2 / own).item() if own > 0 else math.nan


def measure(algorithm: BaseModel, batches: List[dict]) -> Dict[str, float]:
    """All figures, by their names in the log.

    Args:
        algorithm (BaseModel): A distillation in evaluation mode.
        batches (list[dict]): Of a dataloader.
    """
    found = {}
    for row in distances.measure(algorithm, batches):
        place = row.name.replace(' ', '_')
        for when, value in (('before', row.before), ('after', row.after)):
            if value is not None:
                found[f'{PREFIX}{place}/distance_{when}'] = value
    found.update(_alignments(algorithm, batches))
    paths = algorithm.sampler.candidates if isinstance(algorithm, FCFDDistill) else []
    if paths:
        for path in function_consistency.measure(algorithm, batches, paths):
            found[f'{PREFIX}{path.name}/accuracy'] = path.accuracy
    return found


def _alignments(algorithm: BaseModel, batches: Iterable[dict]) -> Dict[str, float]:
    """CKA at each place, of the maps averaged over their positions."""
    seen: Dict[str, List[List[Tensor]]] = defaultdict(lambda: [[], [], []])
    for batch in batches:
        for pair in pairs(algorithm, batch):
            for kept, x in zip(seen[pair.name], (pair.student, pair.bridged, pair.teacher)):
                kept.append(x.flatten(2).mean(2) if x.ndim == 4 else x.flatten(1))
    found = {}
    for name, parts in seen.items():
        student, bridged, teacher = map(torch.cat, parts)
        for when, x in (('before', student), ('after', bridged)):
            found[f'{PREFIX}{name.replace(" ", "_")}/cka_{when}'] = linear_cka(x, teacher)
    return {name: value for name, value in found.items() if not math.isnan(value)}
