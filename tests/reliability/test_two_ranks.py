"""Every algorithm on two ranks, with accumulated gradients, in bf16, with SyncBN and with EMA."""
import contextlib
import multiprocessing

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.model import convert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdistill_ext.checkpoints import load as safe_load

from .algorithms import ALGORITHMS
from .two_ranks import STEPS, optimizer, part, rank_run, ready, tell, trained

pytestmark = pytest.mark.train
# The loss of a detector with proposals is a mean over those that it drew at random.
BY_IMAGE = [name for name in ALGORITHMS if name != 'fcfd faster r-cnn']
# On a CPU mmcv has its NMS and deformable convolution in float32 alone.
IN_BF16 = [name for name in BY_IMAGE if name != 'fcfd reppoints']


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    """What each of two ranks has after each step, by algorithm."""
    folder = tmp_path_factory.mktemp('ranks')
    fork = multiprocessing.get_context('forkserver')
    fork.set_forkserver_preload(['tests.reliability.two_ranks', 'mmdistill_ext.cli.command'])
    processes = [fork.Process(target=rank_run, args=(rank, folder / 'store', folder))
                 for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
        assert process.exitcode == 0
    return [torch.load(folder / str(rank)) for rank in range(2)]


def distance(one, two):
    """The largest difference, in units of the largest weight."""
    return max(float((one[n] - two[n]).abs().max() / one[n].abs().max().clamp(min=1)) for n in one)


@pytest.mark.parametrize('name', ALGORITHMS)
def test_ranks_are_equal_after_every_step(ranks, name):
    for norm_eval in (False, True):
        before = trained(ready(name))
        for (first, terms), (second, others) in zip(*(rank[name, norm_eval] for rank in ranks)):
            assert all(torch.equal(first[key], second[key]) for key in first)
            assert distance(first, before) > 1e-6
            assert terms == others  # of the same paths
            before = first


@pytest.mark.parametrize('name', BY_IMAGE)
def test_two_halves_are_the_whole(ranks, name):
    """Where no BatchNorm looks at the batch."""
    model, half = ready(name, norm_eval=True), ready(name, norm_eval=True)
    optim, other = optimizer(model), optimizer(half)
    for step in range(STEPS):
        tell(step)
        model.train_step(part(name), optim)
        half.train_step(part(name, 0, 2), other)
        weights, _ = ranks[0][name, True][step]
        gap = distance(trained(model), weights)
        assert gap < 1e-5 and 50 * gap < distance(trained(half), weights)


@pytest.mark.parametrize('name', BY_IMAGE)
def test_accumulated_halves_are_the_whole(name):
    tell(0)
    model, halves = ready(name, norm_eval=True), ready(name, norm_eval=True)
    start = trained(model)
    model.train_step(part(name), optimizer(model))
    optim = optimizer(halves, accumulative_counts=2)
    optim.initialize_count_status(halves, 0, 2)
    halves.train_step(part(name, 0, 2), optim)
    assert distance(start, trained(halves)) == 0
    halves.train_step(part(name, 1, 2), optim)
    assert distance(trained(model), trained(halves)) < 1e-5 < distance(start, trained(halves))


class Bf16(OptimWrapper):
    """mmengine's AmpOptimWrapper without its check for a GPU."""

    @contextlib.contextmanager
    def optim_context(self, model):
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield


@pytest.mark.parametrize('name', IN_BF16)
def test_bf16(name):
    # On a map of one pixel PyTorch leaves a gradient of a bf16 convolution unset on the CPU.
    logs, size = [], 192 if ALGORITHMS[name][0] == 'det' else None
    for kind in (OptimWrapper, Bf16):
        tell(0)
        model = ready(name, norm_eval=True)
        start = trained(model)
        logs.append(model.train_step(part(name, size=size), kind(optimizer(model).optimizer)))
        assert all(torch.isfinite(weight).all() for weight in trained(model).values())
        assert distance(start, trained(model)) > 1e-5
    assert logs[0].keys() == logs[1].keys()
    assert all(value.dtype == torch.float for value in logs[1].values())
    assert logs[1]['loss'] != logs[0]['loss']
    torch.testing.assert_close(logs[1]['loss'], logs[0]['loss'], rtol=.05, atol=0)


@pytest.mark.parametrize('name', ALGORITHMS)
def test_sync_bn(name):
    """The links, the paths' statistics and a fused teacher find the layers that came instead."""
    models = [ready(name), convert_sync_batchnorm(ready(name))]
    before = [m for m in models[0].modules() if isinstance(m, _BatchNorm)]
    after = [m for m in models[1].modules() if isinstance(m, nn.SyncBatchNorm)]
    assert len(before) == len(after) > 0
    for model in models:
        optim = optimizer(model)
        for step in range(2):
            tell(step)
            torch.manual_seed(step)
            model.train_step(part(name), optim)
    for key, value in models[0].state_dict().items():
        assert torch.equal(value, models[1].state_dict()[key]), key


def test_sync_bn_of_two_ranks_needs_gpus(ranks):
    """So far it goes on a CPU: PyTorch says what it lacks."""
    assert all('SyncBatchNorm expected input tensor to be on GPU' in r['sync_bn'] for r in ranks)


@pytest.mark.parametrize('buffers', [False, True])
@pytest.mark.parametrize('name', ALGORITHMS)
def test_ema(tmp_path, name, buffers):
    """The checkpoint holds the averages, without a frozen teacher's."""
    kept = []

    class Keep(EMAHook):

        def after_train_iter(self, runner, *args, **kwargs):
            kept.append({key: value.clone() for key, value in runner.model.state_dict().items()})
            super().after_train_iter(runner, *args, **kwargs)

    model, images = ready(name), part(name)
    items = [{key: value[i] for key, value in images.items()} for i in range(4)]
    Runner(model=model, work_dir=str(tmp_path), log_level='ERROR', default_scope='mmengine',
           train_dataloader=dict(batch_size=2, num_workers=0, dataset=items,
                                 sampler=dict(type='DefaultSampler', shuffle=False)),
           train_cfg=dict(by_epoch=True, max_epochs=2), optim_wrapper=optimizer(model),
           custom_hooks=[Keep(momentum=.25, update_buffers=buffers)],
           experiment_name=f'{name}{buffers}').train()
    saved = safe_load.read(str(tmp_path / 'epoch_2.pth'))['state_dict']
    assert len(kept) == 4 and saved.keys() == kept[0].keys()
    moved, trainable = 0, trained(model)
    for key, value in saved.items():
        expected = kept[0][key].clone()
        for state in kept[1:]:
            expected = .75 * expected + .25 * state[key]
        averaged = value.is_floating_point() and (buffers or key in trainable)
        if averaged:
            torch.testing.assert_close(value, expected, msg=lambda m, k=key: f'{k}: {m}')
            moved += not torch.equal(value, kept[-1][key])
        elif not value.is_floating_point() and not buffers:
            assert torch.equal(value, kept[-1][key]), key
    assert moved > 5
