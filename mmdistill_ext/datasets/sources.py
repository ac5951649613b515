"""The real images that scikit-learn ships, divided so that no two splits share a part."""
from dataclasses import dataclass
from typing import List, Tuple

import numpy as np

SPLITS = ('train', 'val', 'tune')
PHOTOS = ('china', 'flower')

# Shares of the digits, and of every photograph's width from its left edge. They do not depend on
# a seed, so sets made with different seeds can be mixed without leaking.
_DIGITS = dict(train=(0.0, 0.6), val=(0.6, 0.85), tune=(0.85, 1.0))
_WIDTH = dict(train=(0.0, 0.55), tune=(0.55, 0.75), val=(0.75, 1.0))


@dataclass
class Sources:
    """The digits and photographs that the scenes of one split are made of.

    Args:
        digits (np.ndarray): Digits in [0, 1], shape (N, 8, 8).
        labels (np.ndarray): Their classes 0..9, shape (N,).
        digit_ids (np.ndarray): Their rows in ``load_digits()``, shape (N,).
        photos (list[np.ndarray]): This split's part of every photograph in ``PHOTOS``, RGB,
            uint8, shape (427, W, 3).
        columns (tuple[int, int]): The columns of the photographs that ``photos`` holds.
    """
    digits: np.ndarray
    labels: np.ndarray
    digit_ids: np.ndarray
    photos: List[np.ndarray]
    columns: Tuple[int, int]


def load_sources(split: str) -> Sources:
    """Load the digits and the parts of the photographs that belong to one split.

    Args:
        split (str): One of ``SPLITS``.
    """
    # Here, because a training run imports this package and needs nothing of scikit-learn.
    from sklearn.datasets import load_digits, load_sample_images
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    start, stop = (round(share * len(order)) for share in _DIGITS[split])
    ids = np.sort(order[start:stop])

    photos = load_sample_images().images
    width = photos[0].shape[1]
    left, right = (round(share * width) for share in _WIDTH[split])
    return Sources(
        digits=digits.images[ids] / 16,
        labels=digits.target[ids],
        digit_ids=ids,
        photos=[photo[:, left:right] for photo in photos],
        columns=(left, right))
