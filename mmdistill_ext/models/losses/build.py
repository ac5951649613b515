"""Builds the loss that a field of an algorithm names."""
from mmrazor.registry import MODELS
from torch import nn

from ...errors import number


def build_loss(field: str, config: dict) -> nn.Module:
    """A loss of this project's or of MMRazor's, whose weight may be no more than a number.

    Args:
        field (str): What the algorithm calls it, for messages.
        config (dict): Config of the loss.
    """
    number(f'{field}: loss_weight', config.get('loss_weight', 1.))
    return MODELS.build(config)
