import copy
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn
from torch.utils.data import Dataset

import mmdistill_ext  # noqa: F401
from mmdistill_ext.checkpoints import load
from mmdistill_ext.errors import ConfigError

WRITTEN = []


class Toy(BaseModel):

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))

    def forward(self, x, mode='tensor'):
        out = self.layers(torch.stack(x))
        return dict(loss=out.pow(2).mean()) if mode == 'loss' else [out]


class Points(Dataset):
    metainfo = dict(classes=('a', 'b'), palette=[(1, 2, 3)])

    def __len__(self):
        return 8

    def __getitem__(self, i):
        return dict(x=torch.tensor([i / 8., 1.]))


class Score(BaseMetric):
    """Metrics come as numpy scalars, and the best one goes into the checkpoint."""

    def process(self, data_batch, data_samples):
        self.results.append(len(data_samples))

    def compute_metrics(self, results):
        return dict(acc=np.float32(len(results)), mean=np.float64(.5), count=np.int64(3))


SCHEDULERS = [
    dict(type='LinearLR', start_factor=.1, end=2, by_epoch=False),
    dict(type='MultiStepLR', milestones=[1, 2]),
    dict(type='StepLR', step_size=2),
    dict(type='CosineAnnealingLR', T_max=4),
    dict(type='PolyLR'),
    dict(type='ExponentialLR', gamma=.9),
    dict(type='ConstantLR'),
    dict(type='CosineRestartLR', periods=[2, 2], restart_weights=[1, .5], eta_min=0),
    dict(type='MultiStepMomentum', milestones=[2]),
]


def runner(work_dir, scheduler=None, epochs=2, **kwargs) -> Runner:
    torch.manual_seed(0)
    loader = dict(batch_size=4, dataset=Points(), sampler=dict(type='DefaultSampler'))
    return Runner(
        model=Toy(), work_dir=str(work_dir), train_dataloader=loader, val_dataloader=loader,
        val_cfg=dict(), val_evaluator=[Score()], train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=.1)),
        param_scheduler=copy.deepcopy(scheduler or SCHEDULERS),
        custom_hooks=[dict(type='EMAHook')],
        default_hooks=dict(checkpoint=dict(
            type='mmrazor.WholeCheckpointHook', interval=1, save_best='acc')),
        experiment_name=f'{work_dir}-{epochs}', log_level='ERROR', randomness=dict(seed=0),
        **kwargs)


def checkpoint(tmp_path):
    runner(tmp_path).train()
    return tmp_path / 'epoch_2.pth'


def with_numpy_of(core: str, path):
    """The same checkpoint as a numpy of another generation names its parts."""
    out = path.with_name(f'{core}.pth')
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, 'w') as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith('data.pkl'):
                assert b'cnumpy' in data
                for other in (b'numpy._core.', b'numpy.core.'):
                    data = data.replace(b'c' + other, b'c' + core.encode() + b'.')
            new.writestr(name, data)
    return out


def test_mmengines_own_checkpoints_load(tmp_path):
    path = checkpoint(tmp_path)
    trusted = torch.load(path, weights_only=False)
    for variant in (path, with_numpy_of('numpy.core', path), with_numpy_of('numpy._core', path),
                    tmp_path / 'best_acc_epoch_1.pth'):
        loaded = CheckpointLoader.load_checkpoint(str(variant), map_location='cpu')
        if variant.name.startswith('best'):
            continue
        assert loaded.keys() == trusted.keys()
        assert all(torch.equal(v, trusted['state_dict'][k])
                   for k, v in loaded['state_dict'].items())
        assert str(loaded['optimizer']) == str(trusted['optimizer'])
        assert loaded['param_schedulers'] == trusted['param_schedulers']
        assert loaded['meta'] == trusted['meta']
        history = loaded['message_hub']['log_scalars']['train/loss']
        assert (history.data[0] == trusted['message_hub']['log_scalars']['train/loss'].data[0]
                ).all() and len(history.data[0]) == 4
        assert loaded['message_hub']['runtime_info']['best_score'] == 2


class Killed(Exception):
    pass


class Kill(Hook):
    """Before the second epoch's successor starts."""

    def before_train_epoch(self, runner):
        if runner.epoch == 2:
            raise Killed


@pytest.mark.parametrize('schedulers', [
    SCHEDULERS, [dict(type='OneCycleLR', eta_max=.1, total_steps=8, by_epoch=False)]])
def test_resume_ends_with_the_weights_of_a_run_left_alone(tmp_path, schedulers):
    whole = runner(tmp_path / 'whole', schedulers, epochs=4)
    whole.train()
    cut = runner(tmp_path / 'cut', schedulers, epochs=4)
    cut.register_hook(Kill())
    with pytest.raises(Killed):
        cut.train()
    resumed = runner(tmp_path / 'cut', schedulers, epochs=4, resume=True)
    resumed.train()
    assert cut.iter == 4 and resumed.iter == whole.iter == 8
    for (name, a), b in zip(whole.model.state_dict().items(), resumed.model.state_dict().values()):
        assert torch.equal(a, b), name


class Wicked:
    """Writes into WRITTEN when it is unpickled by a reader that believes everything."""

    def __init__(self, function, *args):
        self.reduced = (function, args)

    def __reduce__(self):
        return self.reduced


class OwnClass:
    pass


@pytest.mark.parametrize('thing, name', [
    (Wicked(WRITTEN.append, 1), 'getattr'),
    (Wicked(exec, 'from tests.checkpoints.test_load import WRITTEN; WRITTEN.append(1)'), 'exec'),
    (Wicked(getattr, torch.Tensor, 'tofile'), 'getattr'),
    (Wicked(os.system, 'false'), f'{os.name}.system'),
    (OwnClass(), 'test_load.OwnClass'),
])
@pytest.mark.parametrize('legacy', [False, True])
def test_anything_else_is_refused_by_name(tmp_path, thing, name, legacy):
    path = tmp_path / 'wicked.pth'
    torch.save(dict(state_dict=nn.Linear(2, 2).state_dict(), meta=dict(extra=thing)), path,
               _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ConfigError, match=name) as error:
        load.load(str(path))
    assert str(path) in str(error.value) and '\n' not in str(error.value)
    assert not WRITTEN


def test_getattr_reaches_nothing_but_mmengines_own_methods(tmp_path):
    from mmengine.logging import HistoryBuffer
    for owner, attribute in ((HistoryBuffer, '__init__'), (HistoryBuffer, 'register_statistics'),
                             (np.ndarray, 'tofile')):
        torch.save(Wicked(getattr, owner, attribute), tmp_path / 'a.pth')
        with pytest.raises(ConfigError, match='getattr'):
            load.load(str(tmp_path / 'a.pth'))


@pytest.mark.parametrize('cut', [.2, .9])
def test_cut_short(tmp_path, cut):
    path = checkpoint(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[:int(len(data) * cut)])
    with pytest.raises(ConfigError, match='epoch_2.pth is no checkpoint, or one that was cut'):
        load.load(str(path))


@pytest.mark.parametrize('junk', [b'', b'hello', b'<html>' * 1000, pickle.dumps('a str', 2)])
def test_no_checkpoint_at_all(tmp_path, junk):
    (tmp_path / 'junk.pth').write_bytes(junk)
    with pytest.raises(ConfigError, match='junk.pth is no checkpoint'):
        load.load(str(tmp_path / 'junk.pth'))


def test_missing_file_is_mmengines_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='gone.pth'):
        load.load(str(tmp_path / 'gone.pth'))


def test_downloads_are_read_the_same_way(tmp_path, monkeypatch):
    """Through a file:// address: the whole way, with torch's own downloader."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / 'good.pth')
    torch.save(OwnClass(), tmp_path / 'bad.pth')
    assert set(load.load(f'file://{tmp_path}/good.pth')) == {'weight', 'bias'}
    assert (tmp_path / 'home/hub/checkpoints/good.pth').exists()
    with pytest.raises(ConfigError, match='OwnClass'):
        load.load(f'file://{tmp_path}/bad.pth')
    with pytest.raises(ConfigError, match='cannot be downloaded'):
        load.load(f'file://{tmp_path}/gone.pth')
