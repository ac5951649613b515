"""What the hook logs is what the analysis tools measure on the same images."""
import json
import re

import pytest
import torch
from mmengine.config import Config
from mmrazor.registry import MODELS

from mmdistill_ext.analysis import report, run_folders
from mmdistill_ext.engine.hooks import ClosenessHook
from mmdistill_ext.errors import ConfigError
from tests.tools.toy import tool, write

FCFD = '''
_base_ = 'toy.py'
model = dict(_delete_=True, _scope_='mmrazor', type='FCFDDistill', random_teacher=True,
             architecture=_base_.model.architecture, teacher=_base_.model.teacher)
find_unused_parameters = True
'''


def logged(folder):
    """Key -> values by epoch, out of mmengine's JSON log."""
    found = {}
    for path in folder.glob('*/vis_data/scalars.json'):
        for line in map(json.loads, path.read_text().splitlines()):
            for key, value in line.items():
                if key.startswith('closeness/'):
                    found.setdefault(key, []).append(value)
    return found


@pytest.mark.train
def test_a_link_is_logged_at_each_validation(tmp_path):
    """The last figure is the one that tools/analysis/distances.py finds in the checkpoint."""
    write(tmp_path)
    text = (tmp_path / 'toy.py').read_text().replace(
        "dict(type='mmrazor.EpochSeedHook')",
        "dict(type='mmrazor.EpochSeedHook'), dict(type='mmrazor.ClosenessHook')")
    (tmp_path / 'toy.py').write_text(text)
    teacher = MODELS.build(Config.fromfile(tmp_path / 'toy.py').model.teacher)
    torch.save(teacher.state_dict(), tmp_path / 'teacher.pth')
    known = ('--cfg-options', 'model.teacher_ckpt=teacher.pth', 'model.random_teacher=False',
             'val_dataloader.dataset.pipeline.1.prob=0.',
             'test_dataloader.dataset.pipeline.1.prob=0.')
    done = tool('train.py', 'toy.py', '--work-dir', 'wd', *known, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = logged(tmp_path / 'wd')
    assert set(figures) == {f'closeness/loss_feature/{kind}' for kind in (
        'distance_after', 'cka_before', 'cka_after')}  # 32 and 64 channels: nothing before
    assert all(len(values) == 2 for values in figures.values())
    done = tool('analysis/distances.py', 'toy.py', 'wd/epoch_2.pth', '--images', '200',
                '--out', 'out', *known, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    after = float(done.stdout.split('| loss_feature |')[1].split('|')[3])
    assert figures['closeness/loss_feature/distance_after'][-1] == pytest.approx(after, rel=1e-3)
    titles = [section.title for section in report.sections([tmp_path / 'wd'])]
    assert "wd: L2 distance to the teacher, divided by the teacher's norm" in titles
    assert 'wd: linear CKA with the teacher' in titles
    run, = run_folders.find([tmp_path / 'wd'])
    assert run.metric == 'accuracy/top1'


@pytest.mark.train
def test_the_mixed_paths_of_fcfd(tmp_path):
    write(tmp_path)
    (tmp_path / 'fcfd.py').write_text(FCFD)
    done = tool('train.py', 'fcfd.py', '--work-dir', 'wd', '--cfg-options',
                'train_cfg.max_epochs=1', 'custom_hooks.0.type=mmrazor.ClosenessHook', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = logged(tmp_path / 'wd')
    paths = {re.match('closeness/(.*)/accuracy', key)[1] for key in figures if 'accuracy' in key}
    assert paths == {'teacher', 'student', *(f'{d}_{k}' for d in ('s2t', 't2s') for k in (1, 2, 3))}
    assert all(0 <= value <= 100 for key, values in figures.items() if 'accuracy' in key
               for value in values)
    assert 'closeness/stage_4/cka_after' in figures


def test_without_a_teacher_there_is_nothing_to_be_close_to():
    class Runner:
        model = object()

    with pytest.raises(ConfigError, match='object has no teacher'):
        ClosenessHook().before_train(Runner)
