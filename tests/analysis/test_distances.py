"""Distances against the training's own losses, which are tested against their equations."""
import math

import pytest
import torch
from mmengine.config import Config

from mmdistill_ext.analysis import distances, loading
from mmdistill_ext.analysis.pairs import pairs
from mmdistill_ext.errors import ConfigError
from tests.models.fcfd.heads import algorithm as fcfd_of
from tests.models.fcfd.heads import segmentor
from tests.small import batch, build, model_config

ALPHA = 3.


def linked(task, width=8, **link):
    place = 'neck' if task == 'det' else 'backbone'
    link = dict(student=place, teacher=place,
                loss=dict(type='FeatureL2Loss', loss_weight=ALPHA), **link)
    torch.manual_seed(0)
    return build(dict(type='LeanTeacherDistill', architecture=model_config(task, width),
                      teacher=model_config(task), random_teacher=True,
                      distiller=dict(type='LinkDistiller', links=dict(loss_f=link)))).eval()


def losses_of(algorithm, data):
    """In evaluation mode, as the tools measure."""
    with torch.no_grad():
        return algorithm(**algorithm.data_preprocessor(data, False), mode='loss')


@pytest.mark.parametrize('task, levels', [('cls', 1), ('det', 5)])
def test_behind_the_connector_of_a_link_is_what_the_loss_sees(task, levels):
    algorithm = linked(task, connector='MLPConnector')
    rows = distances.measure(algorithm, [batch(task)])
    assert [row.name for row in rows] == (
        ['loss_f'] if levels == 1 else [f'loss_f {i}' for i in range(levels)])
    found = pairs(algorithm, batch(task))
    for row, pair in zip(rows, found):
        assert row.before == pytest.approx(
            ((pair.student - pair.teacher).norm() / pair.teacher.norm()).item(), rel=1e-5)
        assert row.mse_before == pytest.approx(
            (pair.student - pair.teacher).square().mean().item(), rel=1e-5)
        assert row.after == pytest.approx(math.sqrt(
            row.mse_after / pair.teacher.square().mean().item()), rel=1e-5)
    per_image = sum(row.mse_after * pair.teacher[0].numel() for row, pair in zip(rows, found))
    loss = losses_of(algorithm, batch(task))['distill.loss_f']
    assert ALPHA * per_image == pytest.approx(loss.item(), rel=1e-5)


def test_without_connector_both_are_the_same_and_batches_add_up():
    algorithm = linked('cls')
    row, = distances.measure(algorithm, [batch('cls', images=3)])
    assert row.before == row.after > 0
    whole = batch('cls', images=3)
    parts = [{key: value[i:i + 1] for key, value in whole.items()} for i in range(3)]
    in_parts, = distances.measure(algorithm, parts)
    assert in_parts.after == pytest.approx(row.after, rel=1e-6)


def test_before_there_is_none_where_channels_differ(tmp_path):
    row, = distances.measure(linked('cls', width=4, connector='MLPConnector'), [batch('cls')])
    assert row.channels == (32, 64) and row.before is None and row.mse_before is None
    assert row.after > 0
    distances.draw([row], tmp_path / 'distances.png')
    assert (tmp_path / 'distances.png').read_bytes()[1:4] == b'PNG'


@pytest.mark.parametrize('names', [['loss_f'], ['loss_fpn 0', 'a_link_of_a_longer_name 1', 'x 2']])
def test_the_picture_can_be_read(names, monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(distances.figures, 'save', lambda figure, path: drawn.append(figure))
    distances.draw([distances.Distance(name, (256, 256), .8, .94, .2, .1) for name in names],
                   tmp_path / 'a.png')
    figure, = drawn
    figure.draw_without_rendering()
    axes, = figure.axes
    legend = figure.legends[0].get_window_extent()
    assert figure.bbox.containsx(legend.x0) and figure.bbox.containsx(legend.x1)
    assert axes.get_window_extent().width > .7 * figure.bbox.width
    labels = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert len(labels) == len(names)
    assert not any(one.overlaps(other) for i, one in enumerate(labels) for other in labels[:i])


def test_bridges_of_a_segmentor():
    algorithm = fcfd_of('FCFDSeg', segmentor(4), segmentor(8)).float().eval()
    rows = distances.measure(algorithm, [batch('seg')])
    loss = losses_of(algorithm, batch('seg'))['fcfd.loss_app'].item()
    assert sum(row.mse_after for row in rows) == pytest.approx(loss, rel=1e-5)


def test_bridges_of_a_classifier():
    torch.manual_seed(0)
    algorithm = build(dict(type='FCFDDistill', architecture=model_config('cls', 4),
                           teacher=model_config('cls'), random_teacher=True)).eval()
    rows = distances.measure(algorithm, [batch('cls')])
    assert [row.name for row in rows] == ['stage 1', 'stage 2', 'stage 3', 'stage 4']
    losses = losses_of(algorithm, batch('cls'))
    for k, row in enumerate(rows, start=1):
        assert row.mse_after == pytest.approx(losses[f'fcfd.loss_app_{k}'].item(), rel=1e-5)


def test_a_loss_in_mmrazors_own_form():
    """Its SingleTeacherDistill too; losses between logits are left out."""
    place = dict(type='ModuleOutputs', source='backbone.layer4')
    inputs = dict(type='ModuleInputs', source='head.loss_module')  # there in training only
    logits = dict(type='ModuleOutputs', source='head.fc')
    model = dict(
        type='SingleTeacherDistill', architecture=model_config('cls', 4),
        teacher=model_config('cls'), distiller=dict(
            type='ConfigurableDistiller',
            student_recorders=dict(a=place, loss=inputs, fc=logits),
            teacher_recorders=dict(a=place, loss=inputs, fc=logits),
            connectors=dict(c=dict(type='ConvModuleConnector', in_channel=32, out_channel=64)),
            distill_losses=dict(
                loss_a=dict(type='L2Loss', normalize=False, loss_weight=ALPHA),
                loss_kd=dict(type='KLDivergence'), loss_fc=dict(type='KLDivergence')),
            loss_forward_mappings=dict(
                loss_a=dict(s_feature=dict(from_student=True, recorder='a', connector='c'),
                            t_feature=dict(from_student=False, recorder='a')),
                loss_fc=dict(preds_S=dict(from_student=True, recorder='fc'),
                             preds_T=dict(from_student=False, recorder='fc')),
                loss_kd=dict(preds_S=dict(from_student=True, recorder='loss', data_idx=0),
                             preds_T=dict(from_student=False, recorder='loss', data_idx=0)))))
    torch.manual_seed(0)
    algorithm = loading.build(Config(dict(model=dict(model, _scope_='mmrazor'))))
    row, = distances.measure(algorithm, [batch('cls')])
    assert (row.name, row.channels, row.before) == ('loss_a', (32, 64), None)
    loss = losses_of(algorithm, batch('cls'))['distill.loss_a'].item()
    pair, = pairs(algorithm, batch('cls'))
    assert ALPHA * row.mse_after * pair.teacher[0].numel() == pytest.approx(loss, rel=1e-5)


def test_nothing_to_compare_is_said():
    algorithm = build(dict(
        type='LeanTeacherDistill', architecture=model_config('cls'), teacher=model_config('cls'),
        random_teacher=True, distiller=dict(
            type='ConfigurableDistiller',
            student_recorders=dict(a=dict(type='ModuleOutputs', source='backbone')),
            teacher_recorders=dict(a=dict(type='ModuleOutputs', source='backbone')))))
    with pytest.raises(ConfigError, match='compares no feature'):
        pairs(algorithm.eval(), batch('cls'))
