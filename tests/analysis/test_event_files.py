"""A run that logged to TensorBoard gives the report what scalars.json gives it."""
import json
import sys

import pytest

from mmdistill_ext.analysis import run_folders, runs
from mmdistill_ext.analysis.event_files import entries, read_events
from mmdistill_ext.errors import ConfigError
from tests.tools.toy import tool, write

# Writes down what mmengine hands to a backend, as TensorboardVisBackend does: tag by tag.
PLUGIN = '''
import json
from mmengine.registry import VISBACKENDS
from mmengine.visualization import TensorboardVisBackend


@VISBACKENDS.register_module()
class WrittenDown(TensorboardVisBackend):

    def _init_env(self):
        pass

    def add_config(self, config, **kwargs):
        pass

    def close(self):
        pass

    def add_scalar(self, name, value, step=0, **kwargs):
        with open('events.json', 'a') as file:
            file.write(json.dumps([name, step, float(value)]) + '\\n')
'''
CONFIG = '''
_base_ = 'toy.py'
custom_imports = dict(imports=['mmdistill_ext', 'plugin'])
custom_hooks = [dict(type='mmrazor.ClosenessHook', images=4)]
visualizer = dict(type='Visualizer', vis_backends=[
    dict(type='LocalVisBackend'), dict(type='WrittenDown', save_dir='.')])
'''
BY_ITERATIONS = CONFIG.replace('images=4)]', '''images=4)]
train_cfg = dict(_delete_=True, by_epoch=False, max_iters=8, val_interval=4)
log_processor = dict(by_epoch=False)
default_hooks = dict(
    checkpoint=dict(by_epoch=False), logger=dict(interval=2, log_metric_by_epoch=False))
''')


def shown(work_dir):
    """What the report shows of a run."""
    run, = run_folders.find([work_dir])
    close = {key: {place: [(step, pytest.approx(value)) for step, value in points]
                   for place, points in curves.items()}
             for key, curves in run_folders.closeness([work_dir]).items()}
    return run.metric, run.unit, run.curves, pytest.approx(run.step), close


@pytest.mark.train
@pytest.mark.parametrize('config, steps', [(CONFIG, [1, 2]), (BY_ITERATIONS, [4, 8])],
                         ids=['epochs', 'iterations'])
def test_the_same_as_scalars_json(tmp_path, monkeypatch, config, steps):
    write(tmp_path, images=8)
    (tmp_path / 'plugin.py').write_text(PLUGIN)
    (tmp_path / 'logged.py').write_text(config)
    done = tool('train.py', 'logged.py', '--work-dir', 'wd', cwd=tmp_path,
                PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    expected = shown(tmp_path / 'wd')
    assert [step for step, _ in expected[2][0]] == steps and expected[4]
    tags = {}
    for line in (tmp_path / 'events.json').read_text().splitlines():
        tag, step, value = json.loads(line)
        tags.setdefault(tag, []).append((step, value))
    monkeypatch.setattr(runs, 'read_scalars', lambda path: entries(tags))
    monkeypatch.setattr(run_folders, 'read_scalars', lambda path: entries(tags))
    assert shown(tmp_path / 'wd') == expected


def test_without_tensorboard_it_says_so(tmp_path, monkeypatch):
    folder = tmp_path / 'run/20260102_030405/vis_data'
    folder.mkdir(parents=True)
    (folder / 'events.out.tfevents.1.host').write_bytes(b'')
    monkeypatch.setitem(sys.modules, 'tensorboard', None)
    with pytest.raises(ConfigError, match='pip install tensorboard'):
        run_folders.find([tmp_path / 'run'])


@pytest.mark.train
def test_tensorboards_own_files(tmp_path):
    """Written by mmengine's backend, read by TensorBoard's reader; needs TensorBoard."""
    write(tmp_path, images=8)
    (tmp_path / 'logged.py').write_text(CONFIG.replace("'WrittenDown', save_dir='.'",
                                                       "'TensorboardVisBackend'")
                                        .replace(", 'plugin'", ''))
    done = tool('train.py', 'logged.py', '--work-dir', 'wd', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = shown(tmp_path / 'wd')
    json_file, = (tmp_path / 'wd').glob('*/vis_data/scalars.json')
    json_file.unlink()
    assert read_events(json_file.parent)
    metric, unit, curves, step, close = shown(tmp_path / 'wd')
    assert (metric, unit) == expected[:2] and close == expected[4]
    assert curves[0] == [(step, pytest.approx(value)) for step, value in expected[2][0]]
