"""Builds the loss that a field of an algorithm names."""
import logging
from typing import Union

from mmengine.logging import print_log
from mmrazor.registry import MODELS
from torch import nn

from ...errors import number, one_of_types


def build_loss(field: str, config: Union[str, dict]) -> nn.Module:
    """A loss of this project's or of MMRazor's, whose weight may be no more than a number.

    Args:
        field (str): What the algorithm calls it, for messages.
        config (str | dict): Config of the loss; its name alone is enough where nothing differs.
    """
    if isinstance(config, str):
        config = dict(type=config)
    one_of_types(field, config, dict)
    check_weight(field, config)
    return MODELS.build(config)


def check_weight(what: str, config: dict) -> None:
    """Raise where a loss's weight is no number; say so where it is 0, as a baseline may have it.

    Args:
        what (str): Whose loss it is, for messages.
        config (dict): Config of the loss.
    """
    if number(f'{what}: loss_weight', config.get('loss_weight', 1.)) == 0:
        print_log(f'{what}: loss_weight=0, so this loss teaches nothing', logger='current',
                  level=logging.WARNING)
