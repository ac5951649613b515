"""FCFD over many steps: on two ranks, interrupted and resumed, with a warm-up."""
import pytest
import torch
from mmengine.hooks import Hook
from torch import multiprocessing

from mmdistill_ext.models.fcfd.paths import PathSampler

from .runs import note_paths, rank_run, runner

pytestmark = pytest.mark.train


@pytest.mark.parametrize('num', [2, 'all'])
def test_two_ranks_draw_the_same_paths_and_stay_equal(tmp_path, num):
    multiprocessing.spawn(rank_run, (2, tmp_path / 'store', tmp_path, num), nprocs=2)
    first, second = (torch.load(tmp_path / str(rank)) for rank in range(2))
    assert first['paths'] == second['paths'] and len(first['paths']) == 30
    assert first['paths'] == [[path.name for path in PathSampler(3, num).sample(11, i)]
                              for i in range(30)]
    for name, weight in first['weights'].items():
        assert torch.equal(weight, second['weights'][name]), name
    assert not torch.equal(first['mean'], second['mean'])  # each rank saw its own images


class KeepLosses(Hook):
    """What every iteration logged."""

    def __init__(self):
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs)


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    runs = {}
    for name, lengths in (('whole', [4]), ('parts', [2, 4])):
        paths, kept = [], KeepLosses()
        for part, epochs in enumerate(lengths):
            run = runner(tmp_path / name, epochs, [kept], resume=part > 0)
            note_paths(run.model, paths)
            run.train()
        runs[name] = run.model, [[path.name for path in drawn] for drawn in paths], kept.losses
    (whole, paths, losses), (parts, other_paths, other_losses) = runs['whole'], runs['parts']
    assert paths == other_paths and len(paths) == 16
    assert len({tuple(drawn) for drawn in paths}) > 2
    for step, (mine, theirs) in enumerate(zip(losses, other_losses)):
        assert mine.keys() == theirs.keys(), step
        assert all(torch.equal(mine[name], theirs[name]) for name in mine), step
    for name, value in whole.state_dict().items():
        assert torch.equal(parts.state_dict()[name], value), name


def test_warm_up_of_the_mse_terms(tmp_path):
    kept = KeepLosses()
    warm_up = dict(type='mmrazor.LossWeightHook', loss='loss_mse',
                   phases=[dict(begin=0, end=2, start=0., stop=1.)])
    runner(tmp_path, 3, [kept, warm_up], paths=dict(num='all')).train()
    assert len(kept.losses) == 12
    for step, losses in enumerate(kept.losses):
        mse = {n: v for n, v in losses.items() if '_app_' in n or n.endswith('_l2')}
        rest = {n: v for n, v in losses.items() if n.startswith('fcfd') and n not in mse}
        assert len(mse) == 6 and len(rest) == 5
        assert all(value > 0 for value in rest.values())
        assert all((value == 0) == (step < 4) for value in mse.values())


def test_training_lowers_the_losses(tmp_path):
    kept = KeepLosses()
    runner(tmp_path, 12, [kept], paths=dict(num='all')).train()
    first, last = kept.losses[0], kept.losses[-1]
    for name in ('loss', 'fcfd.loss_app_1', 'fcfd.loss_app_pooled', 'fcfd.loss_s2t_1_l2'):
        assert last[name] < 0.9 * first[name], (name, first[name], last[name])
