"""Which runs are found, and what is read of them."""
import importlib.util
import json

import pytest

from mmdistill_ext.analysis import curves, report, run_folders
from mmdistill_ext.errors import ConfigError
from tests.tools.toy import REPO


def write(work_dir, metric='accuracy/top1', values=(10., 20.), epoch=True, more=()):
    folder = work_dir / '20260102_030405' / 'vis_data'
    folder.mkdir(parents=True)
    lines = []
    for step, value in enumerate(values, start=1):
        lines.append(dict(loss=1., time=.5, step=10 * step, **dict(epoch=1) if epoch else {}))
        lines.append({**{name: 1. for name in more}, metric: value, 'time': 9., 'step': step})
    (folder / 'scalars.json').write_text(''.join(json.dumps(line) + '\n' for line in lines))


def test_runs_and_seeds(tmp_path):
    write(tmp_path / 'demo/teacher')
    write(tmp_path / 'study/kd/seed-0', values=(1., 3., 7.))
    write(tmp_path / 'study/kd/seed-1', values=(3., 5.))
    write(tmp_path / 'study/kd/tune-0.1')
    one, kd = run_folders.find([tmp_path / 'demo', tmp_path / 'study'])
    assert (one.name, one.points, one.unit, one.step) == (
        'teacher', [(1, 10.), (2, 20.)], 'epoch', .5)
    assert (kd.name, kd.last, kd.points) == ('kd', [7., 5.], [(1, 2.), (2, 4.)])
    alone, = run_folders.find([tmp_path / 'demo/teacher'])
    assert alone.name == 'teacher'

    section = report.of_metric('accuracy/top1', [one, kd])
    assert section.table.columns == ['run', 'accuracy/top1', 'best', 'seeds', 'epochs',
                                     'seconds per step']
    assert section.table.rows[1] == ['kd', '6 ± 1.4', 4., 2, 2, .5]
    assert curves.table([kd]).rows[2] == ['kd', 0, 3, 'epoch', 'accuracy/top1', 7.]
    curves.draw({run.name: run.points for run in (one, kd)}, 'top-1 (%)', 'epoch',
                tmp_path / 'curves.png')
    assert (tmp_path / 'curves.png').read_bytes()[1:4] == b'PNG'


def test_the_usual_metric_of_several(tmp_path):
    write(tmp_path / 'seg', 'mIoU', epoch=False, more=['aAcc'])
    run, = run_folders.find([tmp_path])
    assert (run.metric, run.unit) == ('mIoU', 'iteration')
    run, = run_folders.find([tmp_path], 'aAcc')
    assert run.last == [1.]


def test_a_metric_of_some_of_the_runs(tmp_path, capsys):
    write(tmp_path / 'seg', 'mIoU')
    write(tmp_path / 'cls')
    run, = run_folders.find([tmp_path], 'mIoU')
    assert run.name == 'seg'
    assert capsys.readouterr().out == 'left out, no mIoU in the log: cls\n'


def test_epochs_and_iterations_share_no_axis(tmp_path):
    write(tmp_path / 'a')
    write(tmp_path / 'b', epoch=False)
    sections = report.sections([tmp_path])
    assert [section.table.columns[3] for section in sections] == ['epochs', 'iterations']
    assert [list(section.curves.lines) for section in sections] == [['a'], ['b']]
    spec = importlib.util.spec_from_file_location('tool', REPO / 'tools/analysis/curves.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    with pytest.raises(ConfigError, match='some of the runs count epochs and some iterations'):
        tool.main([str(tmp_path)])


def test_runs_of_the_same_name_stay_apart(tmp_path):
    write(tmp_path / 'demo/student', values=(10., 20.))
    write(tmp_path / 'demo_seg/student', 'mIoU', values=(1., 2.))
    demo, seg = run_folders.find([tmp_path / 'demo', tmp_path / 'demo_seg'])
    assert (demo.name, demo.last) == ('demo/student', [20.])
    assert (seg.name, seg.metric, seg.last) == ('demo_seg/student', 'mIoU', [2.])
    one, other = run_folders.find([tmp_path / 'demo/student', tmp_path / 'demo_seg/student'])
    assert (one.name, other.name) == ('demo/student', 'demo_seg/student')
    once, = run_folders.find([tmp_path / 'demo', tmp_path / 'demo/student'])
    assert (once.name, once.last) == ('student', [20.])  # named twice, it is no second seed

    for task in ('demo', 'demo_seg'):
        (tmp_path / task / 'student/analysis').mkdir()
        (tmp_path / task / 'student/analysis/tsne.png').touch()
    pictures = report.pictures_below([tmp_path / 'demo', tmp_path / 'demo_seg'])
    assert [title for title, _ in pictures] == ['demo/student', 'demo_seg/student']
    alone = [tmp_path / 'demo'], [tmp_path / 'demo/student']
    assert [report.pictures_below(folder)[0][0] for folder in alone] == ['student', 'student']


def test_a_run_without_a_number_is_named(tmp_path, capsys):
    write(tmp_path / 'a')
    write(tmp_path / 'b', values=())
    run, = run_folders.find([tmp_path])
    assert run.name == 'a' and capsys.readouterr().out == 'left out, no metric in the log: b\n'


def test_mistakes(tmp_path):
    write(tmp_path / 'a')
    write(tmp_path / 'untested/b', values=())
    (tmp_path / 'empty').mkdir()
    for folder, metric, said in (('gone', None, 'no folder at'), ('empty', None, 'no run of'),
                                 ('a', 'top1', "no metric 'top1'; known names are 'accuracy/top1'"),
                                 ('untested', None, 'no run has been validated yet')):
        with pytest.raises(ConfigError, match=said):
            run_folders.find([tmp_path / folder], metric)
