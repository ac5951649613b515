"""Builds the loss that a field of an algorithm names."""
from typing import Union

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
    number(f'{field}: loss_weight', config.get('loss_weight', 1.))
    return MODELS.build(config)
