"""The student's part of a checkpoint: to test it, and to write it as a checkpoint of its own."""
import os
from collections import OrderedDict
from typing import Dict

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .keys import compare
from .load import load as read_anywhere
from .save import whole_file

PREFIX = 'architecture.'  # the student's name in every algorithm of MMRazor's


def load(path: str) -> dict:
    """Read a checkpoint from a path or address.

    Returns:
        dict: With a ``state_dict``, also where the file holds bare weights.
    """
    if '://' not in path and not os.path.isfile(path):
        raise ConfigError(f'no checkpoint at {path}')
    checkpoint = read_anywhere(path)
    if not isinstance(checkpoint, dict):
        raise ConfigError(f'{path} holds a {type(checkpoint).__name__}, not a checkpoint')
    return checkpoint if 'state_dict' in checkpoint else dict(state_dict=checkpoint)


def is_distilled(checkpoint: dict) -> bool:
    return any(key.startswith(PREFIX) for key in checkpoint['state_dict'])


def weights(checkpoint: dict) -> Dict[str, Tensor]:
    """The student's weights under the student's own names.

    Args:
        checkpoint (dict): Of a distillation, or of a student alone.
    """
    state = {key[len('module.'):] if key.startswith('module.') else key: value
             for key, value in checkpoint['state_dict'].items()}
    if is_distilled(dict(state_dict=state)):
        state = {key[len(PREFIX):]: value for key, value in state.items()
                 if key.startswith(PREFIX)}
    return OrderedDict(state)


def check_fit(state: Dict[str, Tensor], student: nn.Module, path: str,
              what: str = 'the student') -> None:
    """Stop with one line unless names and shapes are the student's, all of them."""
    own = {key: tensor.shape for key, tensor in student.state_dict().items()}
    difference = compare(own, state)
    if difference.count:
        raise ConfigError(f'{path} does not fit {what} {type(student).__name__}: of its '
                          f'{len(own)} weights, {difference}')


def export(path: str, out: str) -> int:
    """Write the student of a distilled checkpoint as a checkpoint that OpenMMLab's tools load.

    What the file says of classes and data (``meta``) stays; optimizer, schedules and the logs of
    the training go. ``out`` is whole or as it was before.

    Returns:
        int: The number of weights written.
    """
    checkpoint = load(path)
    if not is_distilled(checkpoint):
        first = ', '.join(list(checkpoint['state_dict'])[:3])
        raise ConfigError(f"{path} holds no student: no weight's name begins with {PREFIX!r} "
                          f'(found {first}, ...); it may be a student already')
    return write(checkpoint, out)


def write(checkpoint: dict, out: str) -> int:
    """Write the student of a checkpoint, plain or distilled, as :func:`export` does."""
    student = dict(meta=checkpoint.get('meta', {}), state_dict=weights(checkpoint))
    with whole_file(out) as file:
        torch.save(student, file)
    return len(student['state_dict'])
