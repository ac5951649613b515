"""Accuracy and KL of mixed paths, against the paths written out; the command itself."""
import copy
import re
from pathlib import Path

import pytest
import torch
from mmengine.model import BaseDataPreprocessor

from mmdistill_ext.analysis.function_consistency import (
    calibrate,
    draw,
    enter,
    measure,
    pure_paths,
    table,
)
from tests.models.fcfd.reference import (
    EVERY,
    TEACHER,
    build,
    classify,
    cross,
    data,
    kl,
    model,
    stage,
)
from tests.tools.toy import tool, write

STUDENT = model([4, 5, 6], [2, 2, 2])


def batches(count=3):
    for seed in range(count):
        images, samples = data(seed)
        yield dict(inputs=images, data_samples=samples)


def trained():
    algorithm = build(STUDENT, TEACHER, paths=dict(num='all'))
    algorithm.data_preprocessor = BaseDataPreprocessor()
    for batch in batches(5):
        algorithm(batch['inputs'], batch['data_samples'], mode='loss')
    return algorithm


def with_statistics(net, stats):
    """A copy of the network whose BatchNorm layers have those of a path."""
    net = copy.deepcopy(net).eval()
    for key, kept in stats.items():
        net.get_submodule(key.replace('/', '.')).load_state_dict(kept.state_dict(), strict=False)
    return net


@torch.no_grad()
def expected(algorithm, name):
    """Accuracy, KL to the teacher and KL to the own pure path, image by image."""
    student, teacher, bridges = algorithm.student, algorithm.teacher, algorithm.bridges
    right = to_teacher = to_own = count = 0
    for batch in batches():
        features, answers = {}, {}
        for side, net in (('student', student), ('teacher', teacher)):
            x, features[side] = batch['inputs'], {}
            for k in (1, 2, 3):
                features[side][k] = x = stage(net, k, x)
            answers[side] = classify(net, x)
        if name in answers:
            mixed, own = answers[name], answers[name]
        else:
            direction, k = name.split('_')[0], int(name[-1])
            start, end = ('student', 'teacher') if direction == 's2t' else ('teacher', 'student')
            net = with_statistics(getattr(algorithm, end), getattr(algorithm.path_stats, name))
            x = cross(bridges[name], features[start][k], features[end][k].shape[2], True)
            for later in range(k + 1, 4):
                x = stage(net, later, x)
            mixed, own = classify(net, x), answers[end]
        for i, sample in enumerate(batch['data_samples']):
            right += int(mixed[i].argmax() == sample.gt_label)
            to_teacher += kl(mixed[i:i + 1], answers['teacher'][i:i + 1], 1).item()
            to_own += kl(mixed[i:i + 1], own[i:i + 1], 1).item()
            count += 1
    return 100 * right / count, to_teacher / count, to_own / count


def test_every_path_is_measured_with_its_own_statistics():
    algorithm = trained()
    before = copy.deepcopy(algorithm.state_dict())
    rows = measure(algorithm, batches(), algorithm.sampler.candidates)
    assert [row.name for row in rows] == ['teacher', 'student', *(f'{d}_{k}' for k, d in EVERY)]
    for row in rows:
        assert tuple(row[1:]) == pytest.approx(expected(algorithm, row.name), rel=1e-6, abs=1e-6)
    assert rows[0].kl_teacher == 0 and all(row.kl_teacher > 0 for row in rows[1:])
    assert all(torch.equal(value, before[key]) for key, value in algorithm.state_dict().items())


@torch.no_grad()
def distances(algorithm):
    """Mean square of what each bridge is off, in evaluation."""
    student, teacher, _ = pure_paths(algorithm.eval(), next(batches()))
    return [((enter(algorithm, path, student, teacher) - goal.features[path.k - 1])**2).mean()
            for path in algorithm.sampler.candidates
            for goal in [teacher if path.direction == 's2t' else student]]


def test_calibration_touches_bridges_and_path_statistics_only():
    algorithm = trained()
    fresh = build(STUDENT, TEACHER, paths=dict(num='all'), seed=5)
    fresh.data_preprocessor = BaseDataPreprocessor()
    fresh.student.load_state_dict(algorithm.student.state_dict())
    fresh.teacher.load_state_dict(algorithm.teacher.state_dict())
    before = copy.deepcopy(fresh.state_dict())
    paths = fresh.sampler.candidates
    apart = distances(fresh)
    calibrate(fresh, list(batches()), paths, paths, steps=120)
    changed = {key.split('.')[0] for key, value in fresh.state_dict().items()
               if not torch.equal(value, before[key])}
    assert changed == {'bridges', 'path_stats'}
    assert all(now < 0.6 * before for now, before in zip(distances(fresh), apart))
    for row in measure(fresh, batches(), paths):
        assert tuple(row[1:]) == pytest.approx(expected(fresh, row.name), rel=1e-6, abs=1e-6)


def test_table_and_picture(tmp_path):
    algorithm = trained()
    rows = measure(algorithm, batches(1), algorithm.sampler.candidates)
    lines = table(rows).markdown().splitlines()
    assert len(lines) == 2 + 6 and lines[2].startswith('| teacher |') and '| 0 |' in lines[2]
    draw(rows, tmp_path / 'paths.png')
    assert (tmp_path / 'paths.png').read_bytes()[1:4] == b'PNG'


FCFD = '''_base_ = 'toy.py'
model = dict(type='FCFDDistill', distiller=None, paths=dict(num='all'))
'''


@pytest.mark.train
def test_the_command(tmp_path):
    toy = write(tmp_path)
    (tmp_path / 'fcfd.py').write_text(FCFD)
    for config in ('toy.py', 'fcfd.py'):
        ran = tool('train.py', config, '--cfg-options', 'train_cfg.max_epochs=1', cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
    command = 'analysis/function_consistency.py'
    fcfd = tool(command, 'fcfd.py', 'work_dirs/fcfd/epoch_1.pth', cwd=tmp_path)
    assert fcfd.returncode == 0, fcfd.stderr
    out = tmp_path / 'work_dirs/fcfd/analysis'
    assert (out / 'function_consistency.png').is_file()
    lines = (out / 'function_consistency.csv').read_text().splitlines()
    assert len(lines) == 1 + 8 and lines[1].startswith('teacher,')
    named = re.findall(r'^\| (\w+) \| [\d.]+ \|', fcfd.stdout, re.M)
    assert named == ['teacher', 'student', *(f'{d}_{k}' for k in (1, 2, 3) for d in ('s2t', 't2s'))]

    mlp = tool(command, toy, 'work_dirs/toy/epoch_1.pth', cwd=tmp_path)
    assert mlp.returncode == 2 and '--calibrate' in mlp.stderr and mlp.stderr.count('\n') == 1
    mlp = tool(command, toy, 'work_dirs/toy/epoch_1.pth', '--calibrate', '3', '--out', 'here',
               cwd=tmp_path)
    assert mlp.returncode == 0, mlp.stderr
    assert 'made on 3 training batches: s2t_1, t2s_1' in mlp.stdout
    assert (tmp_path / 'here/function_consistency.png').is_file()


@pytest.mark.train
def test_a_detector_is_named_in_one_line(tmp_path):
    ran = tool('analysis/function_consistency.py',
               Path(__file__).parents[2] / 'projects/demo/configs/det_fcfd.py', 'none.pth',
               cwd=tmp_path)
    assert ran.returncode == 2 and ran.stderr.count('\n') == 1
    assert 'compares the outputs of classifiers; this config is for mmdet' in ran.stderr
