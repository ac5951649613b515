"""The demo, small: it can be stopped anywhere, does nothing twice, and reports what it measured."""
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.image
import pytest
import torch
from mmengine.config import Config

import mmdistill_ext  # noqa: F401, so that checkpoints of mmengine are read
from projects.demo.rows import CONFIGS, TASKS

REPO = Path(__file__).parents[2]
SMALL = '''
import sys
from dataclasses import replace
from projects.demo import __main__ as demo
from mmdistill_ext.datasets import SceneSettings
task = demo.TASKS[{task!r}]
demo.TASKS[{task!r}] = replace(task, rows=task.rows[:3])
demo.SceneSettings = lambda: SceneSettings(train=60, val=20, tune=2)
run = demo.run
demo.run = lambda name, scenes: run(name, scenes, {options!r})
sys.argv = ['demo.py', {task!r}]
demo.cli.main(demo.main, resumable=True)
'''


def start(folder, task='cls', **options):
    """The demo's own main() in a folder, with three rows, less data and the options."""
    options = {'train_cfg.max_epochs': 3, **{k.replace('__', '.'): v for k, v in options.items()}}
    script = SMALL.format(options=options, task=task)
    environment = dict(os.environ, OMP_NUM_THREADS='1',
                       PYTHONPATH=f'{REPO}{os.pathsep}{os.environ.get("PYTHONPATH", "")}')
    return subprocess.Popen([sys.executable, '-W', 'ignore', '-c', script], cwd=folder, text=True,
                            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            start_new_session=True, preexec_fn=_heed_interrupts)


def _heed_interrupts():
    """What a shell starts in the background ignores Ctrl-C, and so would what the tests start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(process):
    output, _ = process.communicate(timeout=400)
    return process.returncode, output


def configs(task):
    return {row.name: Config.fromfile(CONFIGS / row.config) for row in TASKS[task].rows}


@pytest.mark.parametrize('task', TASKS)
def test_rows_differ_in_nothing_but_the_distilling(task):
    """Same data, same schedule, and the very models of the teacher's and the student's rows."""
    rows = configs(task)
    assert list(rows)[:2] == ['teacher', 'student'] and len(rows) > 2
    student = rows['student']
    for row in TASKS[task].rows[2:]:
        config = rows[row.name]
        assert config.custom_hooks[:1] == student.custom_hooks
        for key in set(student) - {'model', 'custom_hooks'}:
            assert config[key] == student[key], key
        assert config.model.architecture == student.model
        if row.needs_teacher:
            assert config.model.teacher == rows['teacher'].model
            epochs = rows['teacher'].train_cfg.max_epochs
            assert config.model.teacher_ckpt == f'{TASKS[task].out}/teacher/epoch_{epochs}.pth'


def test_every_demo_config_is_a_row():
    assert {path.name for path in CONFIGS.glob('*.py')} == {
        row.config for task in TASKS.values() for row in task.rows}


@pytest.mark.train
def test_stopped_and_started_again(tmp_path):
    """Ctrl-C while it trains, then on to the end; the weights are those of a run left alone."""
    out = tmp_path / 'work_dirs' / 'demo'
    process = start(tmp_path)
    saved = out / 'teacher' / 'last_checkpoint'  # written once epoch_1.pth is whole
    while not (saved.exists() and saved.read_text()):
        assert process.poll() is None, process.stdout.read()
        time.sleep(.02)
    os.killpg(process.pid, signal.SIGINT)
    code, output = finish(process)
    assert (code, output.strip().splitlines()[-1]) == (
        130, 'stopped; the same command goes on from here'), output
    assert not (out / 'teacher' / 'result.json').exists()

    code, output = finish(start(tmp_path))
    assert code == 0, output
    assert 'epoch 1/3' not in ''.join(re.findall('teacher .*', output))
    check_report(out, ['teacher', 'student', 'mlp'])

    subprocess.run([sys.executable, str(REPO / 'tools' / 'train.py'),
                    str(CONFIGS / 'cls_teacher.py'), '--work-dir', 'alone',
                    '--cfg-options', 'train_cfg.max_epochs=3'],
                   cwd=tmp_path, check=True, capture_output=True)
    assert_same_state(out / 'teacher' / 'epoch_3.pth', tmp_path / 'alone' / 'epoch_3.pth')

    what_is_missing_is_made_and_nothing_else(tmp_path, out)
    another_config_starts_anew(tmp_path, out)


def check_report(out, rows):
    report = (out / 'report.md').read_text()
    table = [line.strip('|').split('|') for line in report.splitlines() if line[:1] == '|'][2:]
    assert [line[0].strip() for line in table] == rows
    found = {row: json.loads((out / row / 'result.json').read_text()) for row in rows}
    alone = found['student']['value']
    for name, value, gain, epochs, step, parameters in table:
        result = found[name.strip()]
        assert float(value) == pytest.approx(result['value'], abs=.05)
        if name.strip() not in ('teacher', 'student'):
            assert float(gain) == pytest.approx(result['value'] - alone, abs=.05)
        assert int(epochs) == result['curve'][-1][0] == 3
        assert float(step) == pytest.approx(result['step'], abs=5e-4) and float(step) > 0
        assert int(parameters.replace(',', '')) > 1000
    page = (out / 'report.html').read_text()
    assert all(f'<td>{cell.strip()}</td>' in page for line in table for cell in line)
    assert page.count('<img src="data:image/png') == 1
    assert page.count('<polyline points') == 2 * len(rows)
    for picture in re.findall(r'\]\((.*?)\)', report):
        assert matplotlib.image.imread(out / picture).std() > 0


def assert_same_state(one, two):
    """Weights, running statistics and momentum, bit by bit."""
    one, two = (torch.load(path, map_location='cpu') for path in (one, two))
    assert one['state_dict'].keys() == two['state_dict'].keys()
    for key, value in one['state_dict'].items():
        assert torch.equal(value, two['state_dict'][key]), key
    first, second = (each['optimizer']['state'] for each in (one, two))
    assert first.keys() == second.keys() and first
    for index in first:
        assert torch.equal(first[index]['momentum_buffer'], second[index]['momentum_buffer'])


def what_is_missing_is_made_and_nothing_else(folder, out):
    """As after a kill between the last checkpoint and the last validation."""
    result = out / 'student' / 'result.json'
    value = json.loads(result.read_text())['value']
    result.unlink()
    scalars, = (out / 'student').glob('*/vis_data/scalars.json')
    scalars.write_text('\n'.join(scalars.read_text().splitlines()[:-1]) + '\n')
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*.pth')}
    code, output = finish(start(folder))
    assert code == 0, output
    assert json.loads(result.read_text())['value'] == pytest.approx(value)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob('*.pth')}
    assert 'epoch' not in output.split('# Demo')[0]


def another_config_starts_anew(folder, out):
    """And what a row prints when it fails is one line that says where to look."""
    code, output = finish(start(folder, model__backbone__depth=17))
    assert code == 2
    assert 'teacher        was made of another config' in output
    last = output.strip().splitlines()[-1]
    assert last.startswith('ERROR: teacher: train.py ended with code') and 'output.txt' in last
    assert not list(out.glob('teacher/*.pth'))
