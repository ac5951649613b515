"""What a GPU waits for: Python of ours in a step, and a batch normalised for two networks."""
import copy
import cProfile
import pstats
from pathlib import Path
from typing import Callable, Dict, List

import torch
from mmdet.models import DetDataPreprocessor

import mmdistill_ext
from mmdistill_ext.analysis.measure import interleaved_times
from mmdistill_ext.models.teacher.preprocessor import preprocessor_for

from .batches import random_batch
from .rows_fcfd_tffd import fcfd_rows
from .targets import BOTH, ONE, PYTHON

CAFFE = dict(mean=[103.53, 116.28, 123.675], std=[1., 1., 1.], bgr_to_rgb=False)
IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
OURS = f'{Path(mmdistill_ext.__file__).parent}/'
NETWORKS = f'{OURS}models/backbones/'


def python_of_ours(step: Callable[[], object], runs: int) -> List[float]:
    """Seconds that each run of a step spends in this package's own Python, its networks left out.

    Of the standard library's profiler, which makes each call longer than it is: the time of our
    functions without what they call, and of what they call of Python's own. An operator written
    as ``+`` or ``*`` counts as ours; one that is called does not.
    """
    return [_of_one(step) for _ in range(runs)]


def _of_one(step: Callable[[], object]) -> float:
    profile = cProfile.Profile()
    profile.runcall(step)
    seconds = 0.
    stats: dict = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for (file, _, name), (_, _, own, _, callers) in stats.items():
        if _is_ours(file):
            seconds += own
        elif file == '~' and 'torch' not in name:  # of Python's own, not an operator
            seconds += sum(times[2] for (caller, *_), times in callers.items() if _is_ours(caller))
    return seconds


def _is_ours(file: str) -> bool:
    return file.startswith(OURS) and not file.startswith(NETWORKS)


def preprocessings() -> Dict[str, Callable[[], object]]:
    """A detector's preprocessing alone, and with a teacher's that has another mean and std."""
    student = DetDataPreprocessor(**CAFFE, pad_size_divisor=32)
    both = preprocessor_for(student, DetDataPreprocessor(**IMAGENET, pad_size_divisor=32))
    samples = random_batch('det', (2, 3, 480, 640))['data_samples']
    images = [torch.randint(256, (3, 480, 640), dtype=torch.uint8) for _ in samples]

    def run(preprocessor):
        return lambda: preprocessor(dict(inputs=images, data_samples=copy.deepcopy(samples)), True)
    return {ONE: run(student), BOTH: run(both)}


def host_times(rounds: int) -> Dict[str, List[float]]:
    """Row -> seconds, once for each round."""
    # First: the threads of a backward would run beside it.
    times = interleaved_times(preprocessings(), 40 * rounds)
    row = fcfd_rows(random_batch('cls', (2, 3, 32, 32)))['FCFD, 4 paths']()
    for _ in range(2):
        row.step()
    return {**times, PYTHON: python_of_ours(row.step, rounds)}
