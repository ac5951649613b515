"""Tf-FD against its equations, written out in loops over samples, channels, groups and pairs.

The expected values are in float64 and share no code with the losses.
"""
import math

import pytest
import torch
from mmrazor.registry import MODELS

from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.losses import TfFDInterLoss, TfFDIntraLoss
from mmdistill_ext.models.losses.tffd_terms import channel_order
from tests.small import batch, build, model_config

# Shallow to deep: odd channels, a remainder (7 % 3), a deep map narrower than the shallow one,
# sizes that divide and sizes that do not, neighbours of one size.
SHAPES = {
    'cifar': [(4, 8, 8), (8, 4, 4), (16, 2, 2)],
    'odd': [(3, 8, 8), (7, 4, 4), (15, 2, 2)],
    'narrower': [(6, 8, 8), (4, 4, 4), (9, 2, 2)],
    'dilated': [(4, 6, 6), (8, 3, 3), (8, 3, 3), (16, 3, 3)],
    'uneven': [(4, 9, 7), (6, 5, 4), (5, 2, 2), (8, 1, 1)],
    'now and then': [(2, 12, 12), (4, 4, 4), (4, 3, 3), (4, 1, 1)],
    'not square': [(4, 8, 12), (8, 4, 6), (16, 2, 3)],
    'two channels': [(2, 4, 4), (2, 2, 2)],
}
DISTANCES = ['l2', 'AT', 'SP', 'ICKD']


def features_of(shapes, samples=3, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(samples, *shape, generator=generator, dtype=torch.float64).to(dtype)
            for shape in shapes]


def unit(vector):
    """A list of numbers divided by its length."""
    length = math.sqrt(sum(x * x for x in vector))
    return [x / max(length, 1e-12) for x in vector]


def reference_distance(name, student, teacher):
    """student and teacher: [sample][channel] -> tensor [H, W] in float64."""
    samples, channels = len(student), len(student[0])
    if name == 'l2':
        total = 0.
        for n in range(samples):
            for c in range(channels):
                total = total + ((student[n][c] - teacher[n][c])**2).sum()
        return float(total) / samples
    if name == 'AT':
        total, count = 0., 0
        for n in range(samples):
            maps = []
            for side in (student, teacher):
                attention = sum(side[n][c]**2 for c in range(channels)) / channels
                maps.append(unit(attention.flatten().tolist()))
            for a, b in zip(*maps):
                total, count = total + (a - b)**2, count + 1
        return total / count
    if name == 'SP':
        grams = []
        for side in (student, teacher):
            gram = []
            for n in range(samples):
                gram.append(unit([
                    sum(float((side[n][c] * side[m][c]).sum()) for c in range(channels))
                    for m in range(samples)]))
            grams.append(gram)
        return sum((a - b)**2 for rows in zip(*grams) for a, b in zip(*rows)) / samples**2
    if name == 'ICKD':
        total = 0.
        for n in range(samples):
            for c in range(channels):
                rows = [unit([float((side[n][c] * side[n][d]).sum()) for d in range(channels)])
                        for side in (student, teacher)]
                total += sum((a - b)**2 for a, b in zip(*rows))
        return total / (samples * channels)
    raise AssertionError(name)


def reference_halves(feature, p, rank):
    """For each sample (strong, weak) channel numbers, from the strongest down."""
    samples, channels = feature.shape[:2]
    halves = []
    for n in range(samples):
        ranked = range(samples) if rank == 'batch' else [n]
        strength = [sum(float((feature[m, c].abs()**p).sum()) for m in ranked)**(1 / p)
                    for c in range(channels)]
        order = sorted(range(channels), key=lambda c: strength[c], reverse=True)
        half = channels // 2
        halves.append((order[:half], order[channels - half:]))
    return halves


def reference_intra(features, p=2, rank='sample', distance='l2'):
    total = 0.
    for feature in features:
        weak, strong = [], []
        for n, (upper, lower) in enumerate(reference_halves(feature, p, rank)):
            strong.append([feature[n, c] for c in upper])
            weak.append([feature[n, c] for c in lower])
        total += reference_distance(distance, weak, strong)
    return total / len(features)


def reference_pool(channel, height, width):
    """Window (i, j) reaches from floor(i * h / height) to ceil((i + 1) * h / height)."""
    h, w = channel.shape
    pooled = torch.zeros(height, width, dtype=torch.float64)
    for i in range(height):
        for j in range(width):
            rows = range(i * h // height, -(-(i + 1) * h // height))
            columns = range(j * w // width, -(-(j + 1) * w // width))
            values = [float(channel[r, c]) for r in rows for c in columns]
            pooled[i, j] = sum(values) / len(values)
    return pooled


def reference_inter(features, pairs='dense', distance='l2'):
    total, count = 0., 0
    for i in range(len(features)):
        for j in range(i + 1, len(features)):
            if pairs == 'residual' and j != i + 1:
                continue
            shallow, deep = features[i], features[j]
            samples, width = shallow.shape[:2]
            width = min(width, deep.shape[1])
            pooled = [[reference_pool(shallow[n, c], *deep.shape[2:]) for c in range(width)]
                      for n in range(samples)]
            groups = []
            for k in range(deep.shape[1] // width):
                group = [[deep[n, k * width + c] for c in range(width)] for n in range(samples)]
                groups.append(reference_distance(distance, pooled, group))
            total += sum(groups) / len(groups)
            count += 1
    return total / count


@pytest.mark.parametrize('distance', DISTANCES)
@pytest.mark.parametrize('rank', ['sample', 'batch'])
@pytest.mark.parametrize('shapes', SHAPES.values(), ids=SHAPES.keys())
def test_intra_is_the_equation(shapes, rank, distance):
    features = features_of(shapes)
    loss = TfFDIntraLoss(rank=rank, distance=distance)(features)
    assert loss.ndim == 0
    assert float(loss) == pytest.approx(reference_intra(features, 2, rank, distance), rel=1e-10)


@pytest.mark.parametrize('distance', DISTANCES)
@pytest.mark.parametrize('pairs', ['dense', 'residual'])
@pytest.mark.parametrize('shapes', SHAPES.values(), ids=SHAPES.keys())
def test_inter_is_the_equation(shapes, pairs, distance):
    features = features_of(shapes)
    loss = TfFDInterLoss(pairs=pairs, distance=distance)(features)
    assert loss.ndim == 0
    assert float(loss) == pytest.approx(reference_inter(features, pairs, distance), rel=1e-10)


@pytest.mark.parametrize('p', [1, 2, 3.5])
def test_the_norm_is_l_p(p):
    features = features_of([(6, 4, 4)])
    # A channel with one spike is strong for large p, one that is evenly grey for small p.
    features[0][:, 0], features[0][:, 1] = 0.6, 0.
    features[0][:, 1, 0, 0] = 3.
    loss = TfFDIntraLoss(p=p)(features)
    assert float(loss) == pytest.approx(reference_intra(features, p), rel=1e-10)
    first = channel_order(features[0], p)[0].tolist()
    assert (first.index(0) < first.index(1)) == (p == 1)


def test_a_single_layer_and_the_weight():
    features = features_of([(5, 3, 3)])
    assert float(TfFDIntraLoss(loss_weight=8e-4)(features)) == pytest.approx(
        8e-4 * reference_intra(features), rel=1e-10)
    features = features_of(SHAPES['cifar'][:2])
    loss = MODELS.build(dict(_scope_='mmrazor', type='TfFDInterLoss', loss_weight=5e-4))
    assert float(loss(features)) == pytest.approx(5e-4 * reference_inter(features), rel=1e-10)
    assert not list(loss.parameters()) and not loss.state_dict()


def test_one_order_for_the_batch():
    feature = features_of([(7, 3, 3)])[0]
    orders = channel_order(feature, 2, 'batch')
    assert (orders == orders[0]).all()
    each = channel_order(feature, 2, 'sample')
    assert not (each == each[0]).all()
    for order in (*orders, *each):
        assert sorted(order.tolist()) == list(range(7))


@pytest.mark.parametrize('rank', ['sample', 'batch'])
@pytest.mark.parametrize('distance', DISTANCES)
def test_intra_gradient_reaches_the_weak_half_only(distance, rank):
    feature = features_of([(7, 3, 3)])[0].requires_grad_()
    TfFDIntraLoss(distance=distance, rank=rank)([feature]).backward()
    for n, (_, weak) in enumerate(reference_halves(feature.detach(), 2, rank)):
        for c in range(7):
            if c in weak:
                assert feature.grad[n, c].abs().max() > 0
            else:
                assert (feature.grad[n, c] == 0).all()


@pytest.mark.parametrize('distance', DISTANCES)
def test_inter_gradient_reaches_the_shallow_side_only(distance):
    shallow, deep = features_of([(6, 4, 4), (4, 2, 2)])
    shallow.requires_grad_(), deep.requires_grad_()
    TfFDInterLoss(distance=distance)([shallow, deep]).backward()
    assert shallow.grad[:, :4].abs().amin(dim=(2, 3)).min() > 0
    assert (shallow.grad[:, 4:] == 0).all(), 'cropped channels'
    assert deep.grad is None


def test_inter_gradient_of_a_layer_in_the_middle_is_that_of_its_shallow_role():
    features = [x.requires_grad_() for x in features_of(SHAPES['cifar'])]
    TfFDInterLoss()(features).backward()
    middle = features[1].detach().requires_grad_()
    TfFDInterLoss()([middle, features[2].detach()]).backward()
    assert torch.allclose(features[1].grad, middle.grad / 3, rtol=1e-10)
    assert features[2].grad is None


@pytest.mark.parametrize('distance', DISTANCES)
@pytest.mark.parametrize('shapes', [[(3, 4, 4), (7, 2, 2), (7, 1, 1)],
                                    [(4, 5, 3), (9, 2, 2), (8, 1, 1)],
                                    [(6, 2, 2), (4, 2, 2), (4, 2, 1)]])
def test_gradients_are_those_of_finite_differences(shapes, distance):
    """The side that teaches is held fixed, as a detached one is."""
    features = features_of(shapes, samples=2)
    intra = TfFDIntraLoss(distance=distance)
    for feature in features[:2]:
        halves = reference_halves(feature, 2, 'sample')
        mask = torch.zeros_like(feature)
        for n, (_, weak) in enumerate(halves):
            mask[n, weak] = 1
        strong = feature * (1 - mask)
        # The steps are too small to change the order of the channels.
        assert torch.autograd.gradcheck(
            lambda x, s=strong, m=mask: intra([s + x * m]), feature.clone().requires_grad_())
    inter = TfFDInterLoss(distance=distance)
    deeper = [x.detach() for x in features[1:]]
    assert torch.autograd.gradcheck(
        lambda x: inter([x, *deeper]), features[0].detach().requires_grad_())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('distance', DISTANCES)
def test_half_precision_sums_in_float32(dtype, distance):
    """Sums far above float16's 65504; the inputs are exact, so only the arithmetic differs."""
    features = [x * 20 for x in features_of([(8, 16, 16), (16, 8, 8), (16, 5, 5)], 4, dtype)]
    if distance == 'l2':
        assert reference_intra([x.double() for x in features]) > 65504
    for loss, reference in ((TfFDIntraLoss, reference_intra), (TfFDInterLoss, reference_inter)):
        value = loss(distance=distance)([x.requires_grad_() for x in features])
        assert value.dtype == torch.float32
        expected = reference([x.detach().double() for x in features], distance=distance)
        assert value.item() == pytest.approx(expected, rel=1e-5)
        (value * 1e-3).backward()
        assert features[0].grad.dtype == dtype and features[0].grad.isfinite().all()


@pytest.mark.parametrize('distance', DISTANCES)
def test_autocast_changes_nothing(distance):
    features = features_of(SHAPES['cifar'], dtype=torch.float32)
    for loss in (TfFDIntraLoss(distance=distance), TfFDInterLoss(distance=distance)):
        plain = loss(features)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            assert torch.equal(loss(features), plain)


@pytest.mark.parametrize('loss', [TfFDIntraLoss(), TfFDInterLoss()])
def test_the_memory_format_changes_nothing(loss):
    plain = [x.requires_grad_() for x in features_of(SHAPES['uneven'] + [(8, 1, 1)])]
    other = [x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
             for x in plain]
    assert not other[0].is_contiguous()
    values = [loss(plain), loss(other)]
    assert values[1].item() == pytest.approx(values[0].item(), rel=1e-12)
    for value in values:
        value.backward()
    assert torch.allclose(other[0].grad, plain[0].grad, rtol=1e-12)


def test_dead_channels_give_no_nan():
    features = [torch.zeros(2, 4, 4, 4, requires_grad=True), torch.zeros(2, 8, 2, 2)]
    for distance in DISTANCES:
        for loss in (TfFDIntraLoss(distance=distance), TfFDInterLoss(distance=distance)):
            value = loss(features)
            value.backward()
            assert value == 0 and (features[0].grad == 0).all()


def saved_bytes(compute):
    """Bytes of the distinct storages that autograd keeps for backward."""
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = compute()
    assert result.requires_grad
    return sum(storages.values())


def test_intra_keeps_one_difference_and_sorts_norms_only(monkeypatch):
    feature = features_of([(16, 32, 32)], samples=2, dtype=torch.float32)[0].requires_grad_()
    sorted_shapes = []
    argsort = torch.Tensor.argsort

    def watch(tensor, *args, **kwargs):
        sorted_shapes.append(tuple(tensor.shape))
        return argsort(tensor, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, 'argsort', watch)
    kept = saved_bytes(lambda: TfFDIntraLoss()([feature]))
    difference = feature.numel() // 2 * 4
    assert difference <= kept < difference * 1.01  # and a row number for each channel
    assert sorted_shapes == [(2, 16)]


def test_inter_keeps_one_difference_for_all_groups():
    shallow, deep = features_of([(4, 16, 16), (16, 8, 8)], samples=2, dtype=torch.float32)
    kept = saved_bytes(lambda: TfFDInterLoss()([shallow.requires_grad_(), deep]))
    assert kept == 2 * 4 * 8 * 8 * 4


@pytest.mark.parametrize('loss, fields, message', [
    (TfFDIntraLoss, dict(distance='l3'), "TfFDIntraLoss: distance='l3' is not known; "
     "did you mean 'l2'?"),
    (TfFDInterLoss, dict(distance='attention'), "'l2', 'at', 'sp', 'ickd'"),
    (TfFDIntraLoss, dict(rank='samples'), "rank='samples' is not known; did you mean 'sample'?"),
    (TfFDInterLoss, dict(pairs='residuals'), "did you mean 'residual'?"),
    (TfFDInterLoss, dict(pairs=3), 'pairs=3 is not known'),
    (TfFDIntraLoss, dict(p=0), 'p is a number above 0, found 0'),
    (TfFDIntraLoss, dict(p='2'), "p is a number above 0, found '2'"),
    (TfFDIntraLoss, dict(p=float('nan')), 'p is a number above 0, found nan'),
])
def test_wrong_fields_are_named(loss, fields, message):
    with pytest.raises(ConfigError) as error:
        loss(**fields)
    assert message in str(error.value) and '\n' not in str(error.value)


def test_wrong_layers_are_named():
    a, b, c = features_of([(4, 8, 8), (8, 4, 4), (1, 4, 4)])
    for loss, layers, message in [
        (TfFDInterLoss(), [a], 'TfFDInterLoss: found 1 layer ([4, 8, 8])'),
        (TfFDInterLoss(), [a, b, a], 'one and the same feature'),
        (TfFDIntraLoss(), [b, b], 'one and the same feature'),
        (TfFDIntraLoss(), [], 'TfFDIntraLoss: found 0 layer'),
        (TfFDInterLoss(), [b, a], '[4, 8, 8] after [8, 4, 4] is larger'),
        (TfFDInterLoss(), [a, torch.cat([b, b])], 'the layers have 3, 6 samples; name layers'),
        (TfFDIntraLoss(), [a, c], 'a single channel ([1, 4, 4])'),
        (TfFDIntraLoss(), [a.flatten(2)], 'expected maps [C, H, W], found [4, 64]'),
    ]:
        with pytest.raises(ConfigError) as error:
            loss(layers)
        assert message in str(error.value) and '\n' not in str(error.value)


def teacher_free(loss, places):
    return build(dict(
        _scope_='mmrazor', type='TeacherFreeDistill', architecture=model_config('cls'),
        distiller=dict(type='LinkDistiller',
                       links=dict(loss_self=dict(student=places, loss=dict(type=loss))))))


@pytest.mark.parametrize('loss, places, message', [
    ('TfFDInterLoss', ['backbone.layer1'],
     "link 'loss_self', backbone.layer1 [8, 32, 32]: TfFDInterLoss: found 1 layer"),
    ('TfFDInterLoss', ['backbone.layer1', 'backbone.layer1.1'], 'one and the same feature'),
    ('TfFDIntraLoss', ['backbone', 'backbone.layer4'], 'one and the same feature'),
    ('TfFDInterLoss', ['backbone.layer2', 'backbone.layer1'], 'is larger; name them in that order'),
    ('TfFDIntraLoss', ['neck'], 'expected maps [C, H, W], found [64]'),
    ('TfFDIntraLoss', ['backbone.layer5'], "has no module 'backbone.layer5'; did you mean"),
])
def test_wrong_layers_stop_the_build(loss, places, message):
    with pytest.raises(ConfigError) as error:
        teacher_free(loss, places)
    assert message in str(error.value) and '\n' not in str(error.value)


def test_a_message_lists_eight_places_at_most():
    deep = [f'backbone.layer{stage}.0.{name}' for stage in (4, 3, 2, 1)
            for name in ('conv1', 'bn1', 'conv2')]
    with pytest.raises(ConfigError) as error:
        teacher_free('TfFDInterLoss', deep)
    listed = str(error.value).split(': TfFDInterLoss')[0].split('link \'loss_self\', ')[1]
    assert listed.count('backbone.') == 8 and listed.endswith(', ...')
    with pytest.raises(ConfigError) as error:
        TfFDIntraLoss()([torch.ones(2, 4, 8)] * 12)
    assert str(error.value).count('[2, 4, 8]') + str(error.value).count('[4, 8]') <= 8


def test_in_a_model_it_is_the_equation_of_the_recorded_stages():
    """Recorded once, nothing added, and what the links give is what the equations say."""
    model = teacher_free('TfFDInterLoss', ['backbone.layer2', 'backbone.layer3'])
    plain = build(model_config('cls'))
    assert len(list(model.parameters())) == len(list(plain.parameters()))
    stages = {}
    for name in ('layer2', 'layer3'):
        getattr(model.student.backbone, name).register_forward_hook(
            lambda _, __, output, name=name: stages.update({name: output.detach().double()}))
    data = model.train().data_preprocessor(batch('cls'), True)
    losses = model(**data, mode='loss')
    expected = reference_inter([stages['layer2'], stages['layer3']])
    assert losses['distill.loss_self'].item() == pytest.approx(expected, rel=1e-5)


FORMS = ['paper', 'released']


def gradient_of(loss, features):
    features = [x.clone().requires_grad_() for x in features]
    loss(features).backward()
    return [x.grad for x in features]


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('shapes', SHAPES.values(), ids=SHAPES.keys())
def test_hand_written_gradients_of_all_pairs_at_once(shapes, form):
    """As a deep layer none is taught: what each layer gets is that of its pairs, one by one."""
    features = features_of(shapes, samples=2)
    found = gradient_of(TfFDInterLoss(form=form, loss_weight=.3), features)
    count = len(features) * (len(features) - 1) // 2
    for i, shallow in enumerate(features[:-1]):
        expected = 0.
        for deep in features[i + 1:]:
            def pair(x, deep=deep):
                return TfFDInterLoss(form=form)([x, deep])
            assert torch.autograd.gradcheck(pair, shallow.clone().requires_grad_())
            expected = expected + gradient_of(lambda layers, d=deep: TfFDInterLoss(form=form)(
                [*layers, d]), [shallow])[0]
        assert torch.allclose(found[i], .3 * expected / count, rtol=1e-10, atol=1e-14)
    assert found[-1] is None


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('kind', [TfFDIntraLoss, TfFDInterLoss])
def test_a_second_derivative_raises(kind, form):
    features = [x.requires_grad_() for x in features_of(SHAPES['cifar'])]
    loss = kind(form=form)(features)
    first, = torch.autograd.grad(loss**2, features[0], create_graph=True)
    with pytest.raises(RuntimeError, match='once_differentiable'):
        first.sum().backward()


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('kind', [TfFDIntraLoss, TfFDInterLoss])
def test_losses_are_scaled_accumulated_and_compiled(kind, form):
    features, loss = features_of(SHAPES['odd']), kind(form=form, loss_weight=2.)
    with torch.inference_mode():  # a validation before the first step
        loss(features)
    expected = gradient_of(loss, features)
    twice = [x.clone().requires_grad_() for x in features]
    for _ in range(2):
        (loss(twice) * 512).backward()  # as a gradient scaler does
    compiled = gradient_of(torch.compile(loss, backend='aot_eager'), features)
    for own, plain, other in zip(twice, expected, compiled):
        assert (own.grad is None) == (plain is None) == (other is None)
        if plain is not None:
            assert torch.allclose(own.grad, 1024 * plain, rtol=1e-12)
            assert torch.allclose(other, plain, rtol=1e-12, atol=1e-15)
    assert kind(form=form, loss_weight=0.)(features) == 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('kind', [TfFDIntraLoss, TfFDInterLoss])
def test_half_precision_gradients_are_rounded_once_more_at_most(kind, form, dtype):
    features = features_of(SHAPES['odd'] + [(9, 1, 1)], dtype=dtype)
    expected = gradient_of(kind(form=form), [x.double() for x in features])
    for own, exact in zip(gradient_of(kind(form=form), features), expected):
        if exact is not None:
            assert own.dtype == dtype
            assert (own - exact).abs().max() < 2 * torch.finfo(dtype).eps * exact.abs().max()


@pytest.mark.parametrize('kind', [TfFDIntraLoss, TfFDInterLoss])
def test_a_form_that_is_not_given_is_said(kind, log):
    """The published weights belong to the other one, which is thousands of times smaller."""
    assert kind().form == 'paper'
    said, = log.messages
    assert said.startswith(f"{kind.__name__}: form is not given, and 'paper' is taken")
    for form in ('paper', 'released'):
        assert kind(form=form).form == form
    assert log.messages == [said]
