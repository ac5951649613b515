"""What is drawn in an epoch depends on the seed and the epoch, not on what was drawn before."""
import random

import numpy as np
import torch
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

import mmdistill_ext  # noqa: F401


class Draws(nn.Module):
    """Notes a number of every generator in each step."""

    def __init__(self, notes):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.notes = notes

    def train_step(self, data, optim_wrapper):
        self.notes.append((random.random(), np.random.rand(), torch.rand(1).item()))
        return dict(loss=torch.zeros(()))


def drawn(tmp_path, seed, resume=False, epochs=3):
    notes = []
    Runner(
        model=Draws(notes), work_dir=str(tmp_path), resume=resume,
        train_dataloader=dict(
            batch_size=1, num_workers=0, dataset=[1, 2], sampler=dict(type='DefaultSampler')),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=.1)),
        custom_hooks=[dict(type='mmrazor.EpochSeedHook')],
        randomness=dict(seed=seed), default_scope='mmengine',
        experiment_name=f'{tmp_path.name}_{seed}_{resume}_{epochs}').train()
    return notes


def test_a_resumed_run_draws_what_the_whole_one_draws(tmp_path):
    assert HOOKS.get('mmrazor.EpochSeedHook') is not None
    whole = drawn(tmp_path / 'whole', seed=3)
    assert len(set(whole)) == 6  # no epoch repeats another
    first = drawn(tmp_path / 'parts', seed=3, epochs=1)
    random.random(), np.random.rand(5), torch.rand(7)  # and whatever else happens between
    assert first + drawn(tmp_path / 'parts', seed=3, resume=True) == whole
    assert drawn(tmp_path / 'other', seed=5) != whole
