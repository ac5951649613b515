"""What is drawn depends on the seed and the epoch or iteration, not on what was drawn before."""
import random

import numpy as np
import pytest
import torch
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from mmdistill_ext.engine.hooks.epoch_seed_hook import seed_at
from mmdistill_ext.errors import ConfigError


class Draws(nn.Module):
    """Notes a number of every generator in each step."""

    def __init__(self, notes):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.notes = notes

    def train_step(self, data, optim_wrapper):
        here = random.random(), np.random.rand(), torch.rand(1).item()
        self.notes.append((data[0].tolist(), *here))
        return dict(loss=torch.zeros(()))


class Augmented(Dataset):
    """Two items that are nothing but random numbers."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return np.array([index, random.random(), np.random.rand(), torch.rand(1).item()])


EPOCHS = dict(by_epoch=True, max_epochs=3)


def drawn(tmp_path, seed=3, resume=False, train_cfg=EPOCHS, workers=0, persistent=False,
          save_by_epoch=None):
    notes = []
    by_epoch = train_cfg['by_epoch'] if save_by_epoch is None else save_by_epoch
    run = Runner(
        model=Draws(notes), work_dir=str(tmp_path), resume=resume,
        train_dataloader=dict(
            batch_size=1, num_workers=workers, persistent_workers=persistent, dataset=Augmented(),
            sampler=dict(type='DefaultSampler' if train_cfg['by_epoch'] else 'InfiniteSampler')),
        train_cfg=dict(train_cfg), optim_wrapper=dict(optimizer=dict(type='SGD', lr=.1)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=by_epoch)),
        custom_hooks=[dict(type='mmrazor.EpochSeedHook')],
        env_cfg=dict(mp_cfg=dict(mp_start_method='fork')),
        randomness=dict(seed=seed), default_scope='mmengine', log_level='ERROR',
        experiment_name=f'{tmp_path.name}_{seed}_{resume}_{train_cfg}')
    run.train()
    if workers and not train_cfg['by_epoch']:  # or they are waited for, long, when next collected
        run.train_loop.dataloader_iterator.batches._iterator._shutdown_workers()
    return notes


@pytest.mark.train
@pytest.mark.parametrize('train_cfg, shorter, workers', [
    (EPOCHS, dict(max_epochs=1), 0),
    (EPOCHS, dict(max_epochs=1), 2),
    (dict(by_epoch=False, max_iters=6), dict(max_iters=3), 0),
    (dict(by_epoch=False, max_iters=6), dict(max_iters=3), 2)])
def test_a_resumed_run_draws_what_the_whole_one_draws(tmp_path, train_cfg, shorter, workers):
    assert HOOKS.get('mmrazor.EpochSeedHook') is not None
    fields = dict(train_cfg=train_cfg, workers=workers)
    whole = drawn(tmp_path / 'whole', **fields)
    for column in range(3):  # no epoch repeats another, in the workers or here
        assert len({step[1 + column] for step in whole}) == 6
        assert len({step[0][1 + column] for step in whole}) == 6
    first = drawn(tmp_path / 'parts', **dict(fields, train_cfg=dict(train_cfg, **shorter)))
    random.random(), np.random.rand(5), torch.rand(7)  # and whatever else happens between
    assert first + drawn(tmp_path / 'parts', resume=True, **fields) == whole
    assert drawn(tmp_path / 'other', seed=5, **fields) != whole


def test_runs_do_not_share_their_seeds():
    """With seed + epoch, run 1 began where run 0 was after an epoch."""
    seeds = {seed_at(seed, time) for seed in range(50) for time in range(100)}
    assert len(seeds) == 50 * 100 and 0 <= min(seeds) and max(seeds) < 2**31
    assert seed_at(0, 1) == seed_at(0, 1) != seed_at(1, 0)


@pytest.mark.train
def test_another_seed_draws_nothing_of_this_one(tmp_path):
    """No draw of seed 0 in any epoch is one of seed 1."""
    runs = [drawn(tmp_path / str(seed), train_cfg=EPOCHS, workers=0, seed=seed)
            for seed in (0, 1)]
    draws = [{value for step in run for value in step[1:]} for run in runs]
    assert draws[0] and not draws[0] & draws[1]


@pytest.mark.parametrize('fields, message', [
    (dict(seed=None), 'EpochSeedHook: the order of the images is drawn before a resumed run knows '
     'its seed; set randomness=dict(seed=0) or another'),
    (dict(workers=1, persistent=True), 'EpochSeedHook: train_dataloader.persistent_workers=True '
     'keeps random states that no checkpoint holds; set it to False'),
    (dict(save_by_epoch=False), 'EpochSeedHook: CheckpointHook(by_epoch=False) saves within an '
     'epoch, which a resumed run begins anew; expected by_epoch=True, or training that counts '
     'iterations (train_cfg.by_epoch=False)')])
def test_what_cannot_be_repeated_is_refused(tmp_path, fields, message):
    with pytest.raises(ConfigError) as error:
        drawn(tmp_path, **fields)
    assert str(error.value) == message
