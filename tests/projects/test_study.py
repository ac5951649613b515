"""The study: its figures, what a number is chosen by, and that nothing is run twice."""
import json
import math
import re
from dataclasses import replace

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from mmrazor.registry import MODELS

from mmdistill_ext.analysis.figures import BLUE, GREY, ORANGE
from mmdistill_ext.datasets import SceneSettings, make_data
from projects.study import short_page
from projects.study.cells import Cell, Cells, teacher_cell
from projects.study.data import Scenes
from projects.study.page import write_page
from projects.study.picture import colour, limits
from projects.study.rows import thirds
from projects.study.run import run, wanted
from projects.study.stats import Gain, gain_by_seed, mean_and_deviation, paired_gain
from projects.study.tasks import STUDIES
from projects.where import HOME

TASKS = {name: task for study in STUDIES.values() for name, task in study.tasks.items()}
ROWS = [(task, row) for task in TASKS for row in TASKS[task].rows]


def cells_below(folder, tasks=TASKS, **options):
    return Cells(tasks, folder, {name: 'data' for name in tasks}, options)


def test_gain_and_interval():
    """By hand: differences 2.1, 1.4, 0.4, 3.0, 0.5, and t of 4 degrees of freedom from a table."""
    alone = [80., 82., 81.5, 81., 82.1]
    ours = [82.1, 83.4, 81.9, 84., 82.6]
    squares = .62**2 + .08**2 + 1.08**2 + 1.52**2 + .98**2
    half = 2.7764451051977987 * math.sqrt(squares / 4) / math.sqrt(5)
    assert paired_gain(ours, alone) == pytest.approx((1.48, 1.48 - half, 1.48 + half), abs=1e-12)
    assert mean_and_deviation([1., 2., 4.]) == pytest.approx((7 / 3, math.sqrt(7 / 3)), abs=1e-12)
    with pytest.raises(ValueError):
        paired_gain(ours, alone[:4])
    # A seed that one of both lacks does not count, and one pair has no interval.
    assert gain_by_seed({0: 82.1, 7: 9., 2: 81.9, 1: 83.4}, {2: 81.5, 0: 80., 1: 82.}) == (
        pytest.approx(paired_gain(ours[:3], alone[:3]), abs=1e-12))
    assert gain_by_seed({0: 82.1, 1: 83.4}, {1: 82., 2: 81.5}) is None


def test_the_colour_says_on_which_side_of_zero_the_interval_is():
    gains = dict(better=Gain(2., .5, 3.5), worse=Gain(-2., -3.5, -.5), either=Gain(1., -.5, 2.5))
    assert {name: colour(gain) for name, gain in gains.items()} == dict(
        better=BLUE, worse=ORANGE, either=GREY)


def test_a_row_that_failed_does_not_flatten_the_others():
    gains = [Gain(1., 0., 2.), Gain(3., 2., 4.), Gain(-1., -2., 0.)]
    assert limits([*gains, Gain(-33., -80., 13.)]) == limits(gains) == pytest.approx((-2.3, 4.3))
    assert limits([Gain(2., 1., 3.)]) == pytest.approx((-.15, 3.15))
    assert limits([Gain(0., 0., 0.)]) == (-1., 1.)


def test_every_row_has_the_same_budget():
    for task in TASKS.values():
        assert {len(row.values) for row in task.rows.values()} <= {0, len(task.rows['mlp'].values)}
        assert all(not row.values for row in task.rows.values() if row.like)
        assert not set(task.tune_seeds) & set(range(task.seeds))
    assert thirds(3e-3) == (.001, .003, .009, .03)


@pytest.mark.parametrize('task, row', ROWS)
def test_a_number_is_chosen_without_the_test_split(task, row, tmp_path):
    cells = cells_below(tmp_path)
    for cell in cells.tuning(task, row):
        config = cells.config(cell)
        assert config.randomness.seed in TASKS[task].tune_seeds
        read = json.dumps([config.train_dataloader.to_dict(), config.val_dataloader.to_dict(),
                           config.val_evaluator.to_dict()])
        data = TASKS[task].data
        assert re.search(rf'\b{data.tune}\b', read) and not re.search(rf'\b{data.test}\b', read)


@pytest.mark.train
@pytest.mark.parametrize('task', TASKS)
def test_all_rows_build_and_start_from_the_same_student(task, tmp_path):
    cells, first = cells_below(tmp_path), None
    for row in TASKS[task].rows:
        values = TASKS[task].rows[row].values
        config = cells.config(Cell(task, row, 3, values[0] if values else 0.))
        if 'teacher' in config.model:  # MMRazor's own algorithm needs no word for a random one
            config.model.update(teacher_ckpt=None)
            if config.model.type != 'SingleTeacherDistill':
                config.model.random_teacher = True
        init_default_scope(config.default_scope)
        set_random_seed(3)
        model = MODELS.build(config.model)
        set_random_seed(3)
        model.init_weights()
        state = getattr(model, 'architecture', model).state_dict()
        first = first or state
        shared = [key for key in first if key.startswith('backbone.')] if 'simkd' in row else first
        assert shared and all(torch.equal(state[key], first[key]) for key in shared), row


@pytest.mark.train
def test_nothing_is_run_twice_and_nothing_stale_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scenes = SceneSettings(train=16, val=6, tune=6)
    make_data(tmp_path / 'data/study/cls', scenes, progress=False)
    rows = {name: replace(row, values=row.values[:2])
            for name, row in TASKS['cls'].rows.items() if name in ('student', 'mlp', 'kd')}
    tasks = dict(cls=replace(TASKS['cls'], data=Scenes('cls', scenes), rows=rows, seeds=5))
    quick = {'train_cfg.max_epochs': 2, 'train_cfg.val_interval': 2}
    cells = cells_below(tmp_path, tasks, **quick)

    assert run(cells, ['cls'], None, workers=2, minutes=0)
    assert {cell.row for cell in wanted(cells, ['cls'], None)} == {'student'}  # all wait for it
    assert not list(tmp_path.rglob('result.json'))
    assert run(cells, ['cls'], ['student', 'mlp'], workers=2, minutes=9)
    results = {path: path.read_text() for path in tmp_path.rglob('result.json')}
    each = 2 * len(tasks['cls'].tune_seeds) + 5
    assert len(results) == 1 + 2 * each  # the teacher, and both rows
    decay = cells.chosen('cls', 'student')
    assert {cells.config(cell).optim_wrapper.optimizer.weight_decay
            for row in ('student', 'mlp') for cell in cells.seeds('cls', row)} == {decay}

    # One is lost: it alone is run again, and gives the same.
    lost = tmp_path / 'cls/mlp/seed-3/result.json'
    lost.unlink()
    missing, = (cell for cell in wanted(cells, ['cls'], ['student', 'mlp']))
    assert missing.folder == 'cls/mlp/seed-3'
    assert run(cells, ['cls'], ['mlp'], workers=1, minutes=9)
    for key in ('value', 'made_of'):
        assert json.loads(lost.read_text())[key] == json.loads(results[lost])[key]
    assert all(path.read_text() == text for path, text in results.items() if path != lost)

    the_record_is_enough(cells, tmp_path, tasks, quick)
    the_page_says_what_came_out(cells, tmp_path)
    another_choice_or_teacher_makes_seeds_stale(cells, tmp_path)
    assert not any(other.result(cell) for cell in cells.seeds('cls', 'student')
                   for other in [Cells(tasks, tmp_path, dict(cls='other data'), quick)])


def the_record_is_enough(cells, folder, tasks, quick):
    """On another machine nothing is run again, but for a teacher that a new row learns from."""
    cells.write_record(folder / 'results.json')
    elsewhere = Cells(tasks, folder / 'elsewhere', dict(cls='data'), quick, folder / 'results.json')
    for row in ('student', 'mlp'):
        assert cells.seeds('cls', row) == elsewhere.seeds('cls', row)
        for cell in (*cells.tuning('cls', row), *cells.seeds('cls', row)):
            assert cells.result(cell) and cells.result(cell) == elsewhere.result(cell)
    assert not list(wanted(elsewhere, ['cls'], ['student', 'mlp']))
    assert set(wanted(elsewhere, ['cls'], ['kd'])) == {teacher_cell('cls', 'teacher')}
    # No row learns from a teacher that is still being trained.
    half = elsewhere.root / teacher_cell('cls', 'teacher').folder / 'epoch_0.pth'
    half.parent.mkdir(parents=True)
    torch.save({}, half)
    (half.parent / 'last_checkpoint').write_text(str(half))
    assert set(wanted(elsewhere, ['cls'], ['kd'])) == {teacher_cell('cls', 'teacher')}
    assert list(wanted(cells, ['cls'], ['kd'])) == cells.tuning('cls', 'kd')


def the_page_says_what_came_out(cells, folder):
    page = folder / 'results.md'
    page.write_text('above\n<!-- study -->\n<!-- study -->\nbelow\n')
    write_page(cells, page, 'study', 'images/results.png')
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ('above', 'below')
    alone, ours = ([json.loads((folder / f'cls/{row}/seed-{seed}/result.json').read_text())['value']
                    for seed in range(5)] for row in ('student', 'mlp'))
    line, = (line for line in lines if line.startswith('| channel MLP |'))
    assert f'| {sum(ours) / 5:.2f} ±' in line
    assert f'{sum(ours) / 5 - sum(alone) / 5:+.2f} (' in line
    assert '- Not run yet: KD (MMRazor).' in lines
    # All values of both rows are ends here: there are two.
    assert ('- Chosen at the end of the values tried, others might be better still: student alone, '
            'WRN-10-1; channel MLP.') in lines
    picture = re.search(r'^!\[.+]\((.+)\)$', page.read_text(), re.M)
    assert (folder / picture[1]).is_file()


def another_choice_or_teacher_makes_seeds_stale(cells, folder):
    first, second = (cell for cell in cells.tuning('cls', 'mlp')
                     if cell.value != cells.chosen('cls', 'mlp'))
    assert all(cells.result(cell) for cell in cells.seeds('cls', 'mlp'))
    for cell in (first, second):
        change(folder / cell.folder / 'result.json', value=101.)
    assert cells.chosen('cls', 'mlp') == first.value
    assert not any(cells.result(cell) for cell in cells.seeds('cls', 'mlp'))
    teacher = teacher_cell('cls', 'teacher')
    change(folder / teacher.folder / 'result.json', made_of='something else')
    assert next(wanted(cells, ['cls'], ['mlp'])) == teacher


def change(path, **keys):
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def test_the_short_table_says_what_is_recorded():
    """Means over the seeds of the differences, in the task's column."""
    record = json.loads((HOME / 'docs/results.json').read_text())

    def values(task, row):
        return [record[f'{task}/{row}/seed-{seed}']['value'] for seed in range(5)]

    table = (HOME / 'docs/results.md').read_text().split('<!-- embedded -->')[1].splitlines()
    cells = {line.split(' | ')[0].strip('| '): line.strip('|').split('|')[1:] for line in table}
    for column, task in enumerate(('cls', 'seg', 'det')):
        rows = TASKS[task].rows
        alone = math.fsum(values(task, 'student')) / 5 * TASKS[task].scale
        assert cells['student alone'][column].strip().startswith(f'{alone:.2f} ± ')
        shown = [row for row in short_page.ROWS if row in rows]
        assert {'mlp', 'fcfd', 'tffd', 'student_2x'} <= set(shown)
        for row in shown:
            gain = math.fsum(values(task, row)) / 5 * TASKS[task].scale - alone
            assert cells[short_page.ROWS[row]][column].strip(' *').startswith(f'{gain:+.2f} (')
