"""How close the student is to its teacher: distances, linear CKA, accuracy of mixed paths."""
import math
from collections import defaultdict
from typing import Dict, Iterator, List

import torch
from mmengine.model import BaseModel
from torch import Tensor

from ..models.fcfd import FCFDDistill
from . import distances, function_consistency
from .pairs import Pair, pairs
from .run_folders import CLOSENESS

__all__ = ['linear_cka', 'measure']


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
    means: Dict[str, List[List[Tensor]]] = defaultdict(lambda: [[], [], []])

    def run() -> Iterator[Pair]:
        """Each pair once: its averages over the positions are kept, its distance is summed."""
        for batch in batches:
            for pair in pairs(algorithm, batch):
                for kept, x in zip(means[pair.name], (pair.student, pair.bridged, pair.teacher)):
                    kept.append(x.flatten(2).mean(2) if x.ndim == 4 else x.flatten(1))
                yield pair

    found = {}
    for row in distances.of_pairs(run()):
        student, bridged, teacher = map(torch.cat, means[row.name])
        place = f'{CLOSENESS}{row.name.replace(" ", "_")}'
        for when, distance, x in (('before', row.before, student), ('after', row.after, bridged)):
            if distance is not None:
                found[f'{place}/distance_{when}'] = distance
            alignment = linear_cka(x, teacher)
            if not math.isnan(alignment):
                found[f'{place}/cka_{when}'] = alignment
    paths = algorithm.sampler.candidates if isinstance(algorithm, FCFDDistill) else []
    if paths:
        for path in function_consistency.measure(algorithm, batches, paths):
            found[f'{CLOSENESS}{path.name}/accuracy'] = path.accuracy
    return found
