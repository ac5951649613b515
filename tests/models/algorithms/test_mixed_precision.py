"""Under autocast every algorithm trains the same weights, by nearly the same losses.

In bf16 on the CPU; tests/gpu has fp16, also for students whose operators of mmcv (NMS, deformable
convolutions) take no bf16.
"""
import math

import pytest
import torch

from tests.reliability.algorithms import ALGORITHMS
from tests.small import batch, build


def first_step(name, amp):
    task, config = ALGORITHMS[name]
    torch.manual_seed(0)
    model = build(config).train()
    data = model.data_preprocessor(batch(task, size=128), True)
    torch.manual_seed(1)  # the paths that FCFD draws
    with torch.autocast('cpu', torch.bfloat16, enabled=amp):
        total, logged = model.parse_losses(model(**data, mode='loss'))
    total.backward()
    gradients = {key: value.grad for key, value in model.named_parameters()
                 if value.grad is not None}
    return {key: value.item() for key, value in logged.items() if 'loss' in key}, gradients


OPERATORS_OF_MMCV = {'fcfd reppoints', 'fcfd faster r-cnn'}


@pytest.mark.parametrize('name', [name for name in ALGORITHMS if name not in OPERATORS_OF_MMCV])
def test_the_same_weights_are_trained(name):
    """Autocast remembers the weights that it has rounded, without gradient if that was off."""
    losses, gradients = first_step(name, amp=True)
    expected, their_gradients = first_step(name, amp=False)
    assert gradients.keys() == their_gradients.keys()
    assert losses.keys() == expected.keys()
    for key, value in expected.items():
        assert math.isclose(losses[key], value, rel_tol=.05, abs_tol=.005), key
