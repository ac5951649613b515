"""The study's statistics: a mean of several seeds, and what a method adds, seed by seed."""
import statistics
from typing import Dict, NamedTuple, Optional, Sequence


class Gain(NamedTuple):
    """A mean paired difference and its 95% interval.

    Args:
        mean (float): Mean of the differences.
        low (float): Lower end of the interval.
        high (float): Upper end.
    """
    mean: float
    low: float
    high: float


def mean_and_deviation(values: Sequence[float]) -> tuple:
    """The mean and the sample standard deviation (n - 1)."""
    return statistics.fmean(values), statistics.stdev(values)


def paired_gain(ours: Sequence[float], alone: Sequence[float]) -> Gain:
    """What ``ours`` adds to ``alone``, by Student's t on the differences.

    Both are in the order of the seeds: a seed fixes the initial weights and the order of the data,
    so a difference within a seed has less chance in it than one between two means.

    Args:
        ours (Sequence[float]): A figure for each seed.
        alone (Sequence[float]): The same seeds.
    """
    from scipy import stats  # here: only the page needs it
    differences = [a - b for a, b in zip(ours, alone, strict=True)]
    mean, deviation = mean_and_deviation(differences)
    half = float(stats.t.ppf(.975, len(differences) - 1)) * deviation / len(differences)**.5
    return Gain(mean, mean - half, mean + half)


def gain_by_seed(ours: Dict[int, float], alone: Dict[int, float]) -> Optional[Gain]:
    """What ``ours`` adds, over the seeds that both have; None below two of them.

    Args:
        ours (dict[int, float]): Seed -> figure.
        alone (dict[int, float]): The same of what it is compared with.
    """
    both = sorted(ours.keys() & alone.keys())
    return paired_gain([ours[s] for s in both], [alone[s] for s in both]) if both[1:] else None
