"""What a training step records, compared with the dry run: the same outputs, with gradient.

A model may return other outputs in training than in evaluation mode, in which the dry run ran it; a
frozen or checkpointed module returns features without gradient. Either would train on without
teaching, or teach something else.
"""
from typing import Dict, List, NamedTuple, Sequence

from torch import Tensor

from ...errors import ConfigError
from ..utils.dry_run import tensors_of
from .layouts import Layout
from .link_levels import DryRunFeature


class Expected(NamedTuple):
    """What one place returned in the dry run.

    Args:
        place (str): The module's name.
        calls (list[list[Layout]]): For each call, the layout of each tensor.
    """
    place: str
    calls: List[List[Layout]]


def expected_of(features: Sequence[DryRunFeature]) -> List[Expected]:
    """What the places of one link and one side returned in the dry run."""
    places: Dict[str, Expected] = {}
    for feature in features:
        expected = places.setdefault(feature.place, Expected(feature.place, []))
        while len(expected.calls) <= feature.record.record_idx:
            expected.calls.append([])
        expected.calls[feature.record.record_idx].append(feature.layout)
    return list(places.values())


def check_outputs(link: str, side: str, expected: Expected, records: list) -> None:
    """Raise unless a place returned in this step what it returned in the dry run.

    Args:
        link (str): The name of the link.
        side (str): 'student' or 'teacher'.
        expected (Expected): Of the dry run.
        records (list): The outputs of this step, one for each call.
    """
    calls = [tensors_of(record) for record in records]
    if len(calls) == len(expected.calls) and all(
            len(tensors) == len(layouts) and all(map(_agrees, tensors, layouts))
            for tensors, layouts in zip(calls, expected.calls)):
        return
    found = [list(tensor.shape) for tensors in calls for tensor in tensors]
    wanted = [f'{layout.channels} channels in {layout.ndim} dimensions'
              for layouts in expected.calls for layout in layouts]
    raise ConfigError(
        f'link {link!r}, {side}: {expected.place!r} ran {len(calls)} times in this training step '
        f'and returned {_few(found)}; in the dry run in evaluation mode it ran '
        f'{len(expected.calls)} times and returned {_few(wanted)}; name a module that returns the '
        'same in training and evaluation')


def check_gradient(link: str, places: Sequence[str], features: Sequence[Tensor]) -> None:
    """Raise if a link cannot teach the student at one of its places.

    Args:
        link (str): The name of the link.
        places (list[str]): Module names in the student, one for each feature.
        features (list[Tensor]): The student's features.
    """
    frozen = [place for place, feature in zip(places, features) if not feature.requires_grad]
    if frozen:
        raise ConfigError(
            f'link {link!r}, student: no gradient reaches a parameter through '
            f'{", ".join(map(repr, dict.fromkeys(frozen)))}, because it and all before it are '
            'frozen or it runs inside a checkpointed block; name a trainable module '
            '(frozen_stages) outside of one (with_cp)')


def _agrees(tensor: Tensor, layout: Layout) -> bool:
    channels = 2 if layout.ndim == 3 and not layout.channels_first else 1
    return tensor.ndim == layout.ndim and (
        layout.ndim < 2 or tensor.shape[channels] == layout.channels)


def _few(items: list) -> str:
    """The items, or the first four and how many there are."""
    text = ', '.join(map(str, items[:4])) or 'nothing'
    return f'{text}, ... ({len(items)} in all)' if len(items) > 4 else text
