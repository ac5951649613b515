"""Grad-CAM against its equation, for the three kinds of networks."""
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmdistill_ext.analysis import gradcam
from mmdistill_ext.errors import ConfigError
from tests.models.fcfd.heads import livelier, rcnn
from tests.small import batch, build, model_config


def network(config, **arguments):
    torch.manual_seed(0)
    return gradcam.Network(build(config).requires_grad_(False), **arguments)


def prepared(net, task):
    data = net.model.data_preprocessor(batch(task, images=1), False)
    return data['inputs'], data['data_samples']


def expected(net, inputs, score):
    """relu(sum_c mean(d score / d A_c) A_c), between its smallest and largest value."""
    maps = []
    hook = net.layer[0].register_forward_hook(lambda _, __, out: maps.append(out))
    gradient, = torch.autograd.grad(score(inputs), maps)
    hook.remove()
    heat = (gradient.mean((2, 3), keepdim=True) * maps[0]).sum(1, keepdim=True).relu()
    heat = heat.detach()
    heat = (heat - heat.min()) / (heat.max() - heat.min() + 1e-7)
    return F.interpolate(heat, size=inputs.shape[2:], mode='bilinear')[0, 0].numpy()


def test_a_classifier():
    net = network(model_config('cls'), classes='abcde')
    inputs, samples = prepared(net, 'cls')
    logits = net.model(inputs)[0]
    number = net.category(inputs, samples)
    assert number == logits.argmax()
    look = net.look(inputs, samples, number)
    assert look.said == f'{"abcde"[number]}: {logits.softmax(0)[number].item():.0%}'
    assert look.heat == pytest.approx(
        expected(net, inputs, lambda x: net.model(x)[0, number]), abs=.02)
    assert look.heat.std() > .1


def test_a_segmentor_explains_its_largest_class_but_one():
    net = network(model_config('seg'))
    inputs, samples = prepared(net, 'seg')
    answer = net.model(inputs)[0].argmax(0).flatten().tolist()
    sizes = sorted(set(answer), key=answer.count, reverse=True)
    number = net.category(inputs, samples)
    assert number == sizes[min(1, len(sizes) - 1)]
    look = net.look(inputs, samples, number)
    assert look.heat == pytest.approx(
        expected(net, inputs, lambda x: net.model(x)[0, number].sum()), abs=.02)


@pytest.mark.parametrize('config', [model_config('det'), rcnn()], ids=['one-stage', 'two-stage'])
def test_a_detector_explains_all_its_scores(config):
    net = network(config)
    if hasattr(net.model, 'roi_head'):  # with its first weights nothing speaks for a detection
        livelier(net.model)
    inputs, samples = prepared(net, 'det')
    assert net.category(inputs, samples) is None

    found = net.model.predict(inputs, samples, rescale=False)[0].pred_instances.scores
    look = net.look(inputs, samples, None)
    assert len(found) and look.said == f'sum of scores {found.sum().item():.1f}'
    assert net(inputs).item() == pytest.approx(found.sum().item())
    assert look.heat == pytest.approx(expected(net, inputs, lambda x: net(x)[0]), abs=.02)
    assert look.heat.std() > .1


def test_a_detector_that_detects_nothing():
    config = model_config('det')
    config['test_cfg']['score_thr'] = 1.
    net = network(config)
    inputs, samples = prepared(net, 'det')
    look = net.look(inputs, samples, None)
    assert look.said == 'detects nothing'
    assert look.heat.shape == inputs.shape[2:] and not look.heat.any()


def test_likeness_table_and_picture(tmp_path):
    one = np.array([[0., 3.], [4., 0.]])
    other = np.array([[0., 3.], [0., 0.]])
    assert gradcam.likeness(one, one) == pytest.approx(1)
    assert gradcam.likeness(one, other) == pytest.approx(.6)
    assert gradcam.likeness(one, 0 * one) is None
    looks = [dict(teacher=gradcam.Look(one / 4, 'x'), student=gradcam.Look(other / 4, 'y'))]
    rows = gradcam.table(['a.png'], looks).rows
    assert rows[1][:3] == ['a.png', 'student', 'y'] and rows[1][3] == pytest.approx(.6)
    gradcam.draw([np.zeros((2, 2, 3), np.uint8)], looks, tmp_path / 'gradcam.png')
    assert (tmp_path / 'gradcam.png').read_bytes()[1:4] == b'PNG'


def test_a_layer_that_is_not_there():
    with pytest.raises(ConfigError, match="no module 'layer4'; did you mean 'backbone.layer4'"):
        network(model_config('cls'), layer='layer4')


def test_long_words_do_not_run_into_the_next_column(tmp_path, monkeypatch):
    """Measured in the picture."""
    figures = []
    monkeypatch.setattr(gradcam.figures, 'save', lambda figure, path: figures.append(figure))
    look = gradcam.Look(np.zeros((8, 8)), 'background: 100.0% of the picture')
    gradcam.draw([np.zeros((8, 8, 3), np.uint8)] * 2, [dict(teacher=look, student=look)] * 2,
                 tmp_path / 'a.png')
    figure, = figures
    figure.draw_without_rendering()
    below = [axes.xaxis.label.get_window_extent() for axes in figure.axes
             if axes.get_xlabel()]
    pictures = [axes.get_window_extent() for axes in figure.axes if axes.images]
    assert len(below) == 4
    for i, one in enumerate(below):
        assert not any(one.overlaps(other) for other in below[:i])
        assert not any(one.overlaps(picture) for picture in pictures)


def test_a_layer_that_gives_no_map():
    net = network(model_config('cls'), layer='backbone')
    with pytest.raises(ConfigError, match="--layer: 'backbone' gives a tuple, not a feature map"):
        net.category(*prepared(net, 'cls'))
