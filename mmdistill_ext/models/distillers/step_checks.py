"""What a training step records, compared with the dry run: the same outputs, with gradient.

A model may return other outputs in training than in evaluation mode, in which the dry run ran it; a
frozen or checkpointed module returns features without gradient. Either would train on without
teaching, or teach something else.
"""
from typing import Any, Dict, List, NamedTuple, Sequence

import torch
from torch import Tensor, nn

from ...errors import ConfigError, few
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
        f'and returned {few(found) or "nothing"}; in the dry run in evaluation mode it ran '
        f'{len(expected.calls)} times and returned {few(wanted) or "nothing"}; name a module that '
        'returns the same in training and evaluation')


def check_gradient(who: str, places: Sequence[str], features: Sequence[Tensor]) -> None:
    """Raise if what reads these features cannot teach through one of them.

    Args:
        who (str): What reads them, and in which network, for the message.
        places (list[str]): Module names, one for each feature.
        features (list[Tensor]): What the modules returned in this step.
    """
    frozen = [place for place, feature in zip(places, features) if not feature.requires_grad]
    if frozen:
        raise ConfigError(
            f'{who}: no gradient reaches a parameter through '
            f'{few(map(repr, dict.fromkeys(frozen)))}, because it and all before it are '
            'frozen or it runs inside a checkpointed block; name a trainable module '
            '(frozen_stages) outside of one (with_cp, activation_checkpointing)')


def check_own_losses(student: nn.Module, losses: Dict[str, Any]) -> None:
    """Raise if the student's own losses train nothing, while a loss on its features trains on.

    Args:
        student (nn.Module): The student.
        losses (dict): What it returned in this step.
    """
    own = {name: tensors_of(value) for name, value in losses.items() if 'loss' in name}
    reach = any(value.requires_grad for values in own.values() for value in values)
    if own and not reach and torch.is_grad_enabled() and any(
            parameter.requires_grad for parameter in student.parameters()):
        raise ConfigError(
            f"the student's own losses ({', '.join(own)}) have no gradient, though it has "
            'parameters that require one: its head runs inside a checkpointed block that lets none '
            'through (activation_checkpointing); name modules inside of the head')


def _agrees(tensor: Tensor, layout: Layout) -> bool:
    channels = 2 if layout.ndim == 3 and not layout.channels_first else 1
    return tensor.ndim == layout.ndim and (
        layout.ndim < 2 or tensor.shape[channels] == layout.channels)
