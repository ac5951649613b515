"""Tf-FD's released form against its definition, in loops and float64; it shares no code with it."""
import math

import pytest
import torch

from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.losses import TfFDInterLoss, TfFDIntraLoss
from tests.models.losses.test_tffd import SHAPES, features_of, reference_pool


def reference_order(feature):
    """Channels by mean_{n, h, w}(F / max(|F|_2 of that sample's map, 1e-12)), strongest first."""
    samples, channels = feature.shape[:2]
    salience = []
    for c in range(channels):
        values = []
        for n in range(samples):
            pixels = feature[n, c].flatten().tolist()
            length = max(math.sqrt(sum(x * x for x in pixels)), 1e-12)
            values += [x / length for x in pixels]
        salience.append(sum(values) / len(values))
    return sorted(range(channels), key=lambda c: salience[c], reverse=True)


def reference_intra(features):
    terms = []
    for feature in features:
        order, half = reference_order(feature), feature.shape[1] // 2
        squares = [float((feature[n, strong][i, j] - feature[n, weak][i, j])**2)
                   for n in range(len(feature))
                   for strong, weak in zip(order[:half], order[len(order) - half:])
                   for i in range(feature.shape[2]) for j in range(feature.shape[3])]
        terms.append(sum(squares) / len(squares))
    return sum(terms) / len(terms)


def reference_inter(features, pairs='dense'):
    terms = []
    for i in range(len(features)):
        for j in range(i + 1, len(features)):
            if pairs == 'residual' and j != i + 1:
                continue
            shallow, deep = features[i], features[j]
            squares = []
            for n in range(len(deep)):
                for c in range(min(shallow.shape[1], deep.shape[1])):
                    pooled = reference_pool(shallow[n, c], *deep.shape[2:])
                    squares += ((pooled - deep[n, c])**2).flatten().tolist()
            terms.append(sum(squares) / len(squares))
    return sum(terms) / len(terms)


def rectified(features):
    """Features as after a ReLU, where the two saliences differ most, and one dead channel."""
    features = [feature.relu() for feature in features]
    for feature in features:
        feature[:, -1] = 0
    return features


@pytest.mark.parametrize('relu', [False, True])
@pytest.mark.parametrize('shapes', SHAPES.values(), ids=SHAPES.keys())
def test_intra_is_the_definition(shapes, relu):
    features = features_of(shapes)
    features = rectified(features) if relu else features
    loss = TfFDIntraLoss(form='released', loss_weight=8e-4)(features)
    assert loss.item() == pytest.approx(8e-4 * reference_intra(features), rel=1e-12)


@pytest.mark.parametrize('pairs', ['dense', 'residual'])
@pytest.mark.parametrize('shapes', SHAPES.values(), ids=SHAPES.keys())
def test_inter_is_the_definition(shapes, pairs):
    features = features_of(shapes)
    loss = TfFDInterLoss(form='released', pairs=pairs, loss_weight=5e-4)(features)
    assert loss.item() == pytest.approx(5e-4 * reference_inter(features, pairs), rel=1e-12)


def test_both_halves_get_the_gradient_of_intra():
    """By the definition d/dw = 2 (w - s) / M, d/ds = -2 (w - s) / M; the middle one gets none."""
    feature, = features_of([(5, 3, 2)])
    order = reference_order(feature)
    feature.requires_grad_()
    TfFDIntraLoss(form='released')([feature]).backward()
    count = len(feature) * 2 * 3 * 2
    expected = torch.zeros_like(feature)
    for strong, weak in ((order[0], order[3]), (order[1], order[4])):
        difference = (feature[:, weak] - feature[:, strong]).detach()
        expected[:, weak], expected[:, strong] = 2 * difference / count, -2 * difference / count
    assert torch.allclose(feature.grad, expected, atol=1e-15)
    assert feature.grad[:, order[2]].abs().max() == 0


@pytest.mark.parametrize('shape', [(5, 3, 2), (6, 2, 2)])
def test_gradients_are_those_of_finite_differences(shape):
    """The steps are too small to change the order of the channels."""
    features = [x.requires_grad_() for x in features_of([shape, (4, 2, 2)], samples=2)]
    loss = TfFDIntraLoss(form='released')
    assert torch.autograd.gradcheck(lambda *layers: loss(list(layers)), features)


def test_the_deep_side_of_inter_gets_no_gradient():
    shallow, deep = (feature.requires_grad_() for feature in features_of([(4, 8, 8), (6, 4, 4)]))
    TfFDInterLoss(form='released')([shallow, deep]).backward()
    assert deep.grad is None and shallow.grad.abs().min() > 0


def test_channels_beyond_the_narrower_map_do_not_count():
    shallow, deep = features_of([(4, 4, 4), (6, 4, 4)])
    other = deep.clone()
    other[:, 4:] += 1
    loss = TfFDInterLoss(form='released')
    assert loss([shallow, deep]) == loss([shallow, other])
    other[:, 3] += 1
    assert loss([shallow, deep]) != loss([shallow, other])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('loss', [TfFDIntraLoss(form='released'), TfFDInterLoss(form='released')],
                         ids=['intra', 'inter'])
def test_half_precision_is_summed_in_float32(loss, dtype):
    features = [100 * feature for feature in features_of([(4, 8, 8), (8, 4, 4)], dtype=dtype)]
    value = loss(features)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss([x.double() for x in features]).item(), rel=1e-5)


@pytest.mark.parametrize('loss, fields, message', [
    (TfFDIntraLoss, dict(form='release'), "form='release' is not known; did you mean 'released'?"),
    (TfFDIntraLoss, dict(form='released', p=2), "TfFDIntraLoss: p=2 belongs to form='paper', found "
     "form='released'; leave it out"),
    (TfFDIntraLoss, dict(form='released', rank='batch'), "rank='batch' belongs to form='paper'"),
    (TfFDIntraLoss, dict(form='released', distance='l2'), "distance='l2' belongs to form='paper'"),
    (TfFDInterLoss, dict(form='released', distance='AT'), "distance='AT' belongs to form='paper'"),
])
def test_wrong_fields_are_named(loss, fields, message):
    with pytest.raises(ConfigError) as error:
        loss(**fields)
    assert message in str(error.value) and '\n' not in str(error.value)


def test_without_a_form_it_is_the_papers():
    features = features_of([(4, 8, 8), (8, 4, 4)])
    for kind in (TfFDIntraLoss, TfFDInterLoss):
        assert kind()(features) == kind(form='paper')(features)
        assert kind()(features) > 20 * kind(form='released')(features)
