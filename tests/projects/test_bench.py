"""The bench's figures that do not depend on the machine's mood, on its own networks."""
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

import mmdistill_ext
from mmdistill_ext.analysis.measure import flops_of, saved_bytes
from mmdistill_ext.analysis.tables import write_between
from mmdistill_ext.errors import ConfigError
from projects.bench.batches import random_batch
from projects.bench.host import host_times, python_of_ours
from projects.bench.operators import CAST, of_a_second_run, operators_of
from projects.bench.rows_fcfd_tffd import fcfd_rows, tffd_rows
from projects.bench.rows_mlp import mlp_rows
from projects.bench.table import draw, markdown
from projects.bench.targets import BOTH, ONE, PYTHON, TARGETS, floor_of, held_against

PARTS = ('student', 'teacher forward', 'connectors and losses')


def weights(model):
    return sum(value.numel() * value.element_size() for value in model.state_dict().values())


@pytest.mark.train
@pytest.mark.parametrize('task', ['cls', 'seg', 'det'])
def test_a_step_is_its_parts_and_nothing_more(task):
    builders = mlp_rows(task, random_batch(task, (2, 3, 64, 64)))
    flops, saved, checkpoint = {}, {}, {}
    for name in (*PARTS, 'ours'):
        row = builders[name]()
        flops[name] = flops_of(row.step)
        saved[name] = saved_bytes(row.forward, row.model, row.given)
        checkpoint[name] = weights(row.model)
    parts = row.model.teacher.backbone.modules()
    assert not any('BatchNorm' in type(part).__name__ for part in parts)
    assert flops['ours'] == sum(flops[part] for part in PARTS)
    assert saved['teacher forward'] == 0
    assert saved['ours'] <= 1.03 * (saved['student'] + saved['connectors and losses'])
    assert checkpoint['ours'] == checkpoint['student'] + checkpoint['connectors and losses']
    for name in builders.keys() - flops.keys():
        assert builders[name]().model.training


def test_operators_are_counted_without_views():
    x = torch.randn(4, 6, requires_grad=True)

    def step():  # mm, relu, sum; ones_like, threshold_backward, mm of backward
        (x.view(6, 4).t() @ torch.ones(6, 2)).relu().sum().backward()
    first = operators_of(step)
    assert first == dict(ones=1, mm=2, relu=1, sum=1, ones_like=1, threshold_backward=1)
    assert operators_of(step) == {**first, 'add_': 1}  # to the gradient that is there


@pytest.mark.parametrize('row', ['Tf-FD, 4 stages', 'Tf-FD, 4 stages, released'])
def test_what_tffd_dispatches_beyond_the_plain_student(row):
    builders = tffd_rows(random_batch('cls', (4, 3, 64, 64)))
    own, plain = (of_a_second_run(builders[name]().loss) for name in (row, 'student'))
    own.subtract(plain)
    assert own.total() <= 100, own
    assert not own['promote_types']


def test_what_fcfd_casts_in_mixed_precision_beyond_the_student():
    builders = fcfd_rows(random_batch('cls', (4, 3, 32, 32)))
    casts = {}
    for name in ('student', 'FCFD, 4 paths'):
        row = builders[name]()
        row.amp = True
        casts[name] = of_a_second_run(row.loss)[CAST]
    assert 0 < casts['FCFD, 4 paths'] - casts['student'] <= 30, casts


def test_the_channel_mlp_dispatches_what_teacher_connector_and_loss_need():
    builders = mlp_rows('cls', random_batch('cls', (4, 3, 64, 64)))
    own, plain = (of_a_second_run(builders[name]().loss) for name in ('ours', 'student'))
    own.subtract(plain)
    teacher = dict(convolution=36, relu_=33, add_=16, max_pool2d_with_indices=1)  # ResNet-34, fused
    connector = dict(convolution=2, relu_=1, convolution_backward=2, threshold_backward=1,
                     add_=4)  # to four gradients that are there
    loss = dict(sub=1, mse_loss=1, mul=3)
    total = dict(mean=1, div=1, add=2)  # of mmengine, and of the two gradients of one feature
    layouts = dict(clone=2)  # the batch into channels_last, the feature out of it
    assert +own == sum(map(Counter, (teacher, connector, loss, total, layouts)), Counter())


def test_what_fcfd_dispatches_with_all_four_paths():
    builders = fcfd_rows(random_batch('cls', (4, 3, 32, 32)))
    assert (counts := of_a_second_run(builders['FCFD, 4 paths']().loss)).total() <= 900, counts


def rows(**seconds):
    return {name: dict(seconds=value, fastest=value, slowest=value, gflop=10. * value,
                       saved_mb=100., checkpoint_mb=10., distill_loss=2., operators=50, casts=0,
                       shares={'aten::mm': .75, 'aten::add': .25})
            for name, value in seconds.items()}


RESULTS = {
    'cls': rows(**{'student': 3., 'teacher forward': 2., 'connectors and losses': 1.,
                   "MMRazor's MGD": 12., 'ours': 5.4, 'ours, fast teacher': 4.5}),
    'tffd': rows(**{'student': 1., 'Tf-FD': 1.2})}
MACHINE = dict(device='a machine', threads=2, torch='2', precision='float32', float32=20.,
               bfloat16=40.)


def test_figures_stand_beside_their_targets():
    held = {(held.group, held.text): (held.figure, held.most, held.limit)
            for held in held_against(RESULTS, MACHINE)}
    assert floor_of(RESULTS['cls']) == 6
    assert held['cls', 'time, of the floor'] == pytest.approx([.9, .95, (4 + 20 / 20) / 6])
    assert held['cls', 'time with the fast teacher, of the floor'] == pytest.approx(
        [.75, .80, (4 + 20 / 40) / 6])
    figure, most, limit = held['cls', "time with the fast teacher, of MMRazor's MGD"]
    assert (figure, most, limit) == (4.5 / 12, .75, None)
    assert held['tffd', 'time, of the plain student'][:2] == pytest.approx([1.2, 1.05])
    # a row that was not run has no figure
    assert ('cls', 'time, of MMRazor with our connector and loss') not in held
    texts = [target.text for targets in TARGETS.values() for target in targets]
    table = markdown(RESULTS, MACHINE)
    assert '| tffd | time, of the plain student | 1.200 | 1.050 | **missed** |' in table
    assert '| cls | time, of the floor | 0.900 | 0.950 | holds | 0.833 |' in table
    assert len(texts) == 40
    assert '- tffd, Tf-FD: mm 75 %, add 25 %' in table and '- cls' not in table


def test_the_python_of_a_package_is_told_from_what_it_calls():
    source = 'def step(wait):\n    sorted(range(10 ** 5), key=float)\n    wait()\n'
    own, other = {}, {}
    for folder, found in (('models', own), ('models/backbones', other)):
        exec(compile(source, f'{Path(mmdistill_ext.__file__).parent}/{folder}/a.py', 'exec'), found)
    seconds, = python_of_ours(lambda: own['step'](lambda: time.sleep(.5)), 1)
    assert .001 < seconds < .5  # sorted() is of Python, what waits is not ours
    assert python_of_ours(lambda: other['step'](lambda: None), 1) == [0.]


def test_what_a_gpu_waits_for_is_timed():
    times = host_times(2)
    assert {name: len(seconds) for name, seconds in times.items()} == {ONE: 80, BOTH: 80, PYTHON: 2}
    assert all(value > 0 for seconds in times.values() for value in seconds)
    table = markdown({'host': {name: dict(seconds=.002, fastest=.001, slowest=.003)
                               for name in times}}, MACHINE)
    assert f'| {BOTH} | 2.0 (1.0, 3.0) |' in table
    assert f'| host | {PYTHON}, ms | 2.000 | 1.000 | **missed** |' in table


def test_the_table_goes_between_its_markers_and_a_picture_is_drawn(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('before\n<!-- bench cpu -->\nold\n<!-- bench cpu -->\nafter\n')
    write_between(page, 'bench cpu', 'new')
    assert page.read_text() == 'before\n<!-- bench cpu -->\nnew\n<!-- bench cpu -->\nafter\n'
    draw(RESULTS, tmp_path / 'bench.png')
    assert (tmp_path / 'bench.png').stat().st_size > 1000


def test_a_row_that_does_not_exist():
    from projects.bench.run import run_group
    with pytest.raises(ConfigError, match="tffd has no 'Tf-F'; did you mean 'Tf-FD'"):
        run_group('tffd', 'Tf-F', 1, 'cpu', False, None)
