"""A frozen teacher's weights under autocast: the same output, and one cast for all steps."""
import pytest
import torch
from torch import nn

from mmdistill_ext.models.teacher.cast_weights import CastWeights
from projects.bench.operators import CAST, operators_of


class Standardised(nn.Conv2d):
    """Computes with its weight in float32 before autocast sees it."""

    def forward(self, x):
        return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), Standardised(4, 4, 3),
                         nn.Flatten(), nn.Linear(64, 5)).requires_grad_(False)


def run(model, casts, inputs):
    with torch.autocast('cpu', torch.bfloat16), casts.used('cpu'):
        return model(inputs)


def test_the_output_is_autocasts_and_weights_are_cast_once():
    model, inputs = network(), torch.rand(2, 3, 8, 8)
    casts, weights = CastWeights(model), dict(model.named_parameters())
    with torch.autocast('cpu', torch.bfloat16):
        expected = model(inputs)
    # Always the image and what the third layer computes with, once two weights and two biases.
    for count in (3 + 4, 3):
        assert operators_of(lambda: run(model, casts, inputs))[CAST] == count
    assert torch.equal(run(model, casts, inputs), expected)
    assert all(own is weights[name] for name, own in model.named_parameters())
    assert model.state_dict().keys() == network().state_dict().keys()


@pytest.mark.parametrize('change', [
    lambda conv: conv.load_state_dict({'weight': torch.ones(4, 3, 3, 3), 'bias': torch.ones(4)}),
    lambda conv: setattr(conv, 'weight', nn.Parameter(torch.ones(4, 3, 3, 3), False)),
    lambda conv: setattr(conv.weight, 'data', torch.ones(4, 3, 3, 3))])
def test_a_weight_that_changes_is_cast_anew(change):
    model, inputs = network(), torch.rand(2, 3, 8, 8)
    casts = CastWeights(model)
    before = run(model, casts, inputs)
    change(model[0])
    after = run(model, casts, inputs)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(after, model(inputs)) and not torch.equal(after, before)


def test_nothing_is_done_without_autocast_and_to_what_is_trained():
    model = network()
    casts = CastWeights(model)
    with casts.used('cpu'):
        assert model[0].weight.dtype == torch.float32
    model[0].requires_grad_(True)
    with pytest.raises(RuntimeError, match='boom'), torch.autocast('cpu', torch.bfloat16), \
            casts.used('cpu'):
        assert model[0].weight.dtype == torch.float32 and model[5].weight.dtype == torch.bfloat16
        raise RuntimeError('boom')
    assert model[5].weight.dtype == torch.float32
