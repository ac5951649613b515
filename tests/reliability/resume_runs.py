"""Runs that are killed and resumed, for processes that the tests start."""
import copy
import multiprocessing
import os
import random
import resource
import signal

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmrazor.registry import MODELS
from mmrazor.utils import register_all_modules
from torch.utils.data import Dataset

from .algorithms import ALGORITHMS

INTERVAL, SAVES = 3, 12  # iterations of an epoch, or from one checkpoint to the next
EPOCHS = dict(train_cfg=dict(by_epoch=True, max_epochs=SAVES),
              sampler=dict(type='DefaultSampler', shuffle=True), by_epoch=True)
ITERATIONS = dict(train_cfg=dict(by_epoch=False, max_iters=SAVES * INTERVAL),
                  sampler=dict(type='InfiniteSampler', shuffle=True), by_epoch=False)
MIXUP = dict(augments=dict(type='Mixup', alpha=.8))  # drawn in this process, with numpy
# How each is trained: loop, worker processes, checkpoints kept, the loss with a schedule.
RUNS = {
    'mlp cls': (EPOCHS, 1, -1, 'loss_link'),
    'tffd cls': (ITERATIONS, 2, 2, 'loss_intra'),
    'fcfd cls': (EPOCHS, 0, 1, 'loss_mse'),
    'fcfd simkd': (ITERATIONS, 0, 1, 'loss_kd'),
}


class Images(Dataset):
    """Noise with augmentations that draw from every generator there is."""

    def __len__(self):
        return INTERVAL * 4

    def __getitem__(self, index):
        from mmpretrain.structures import DataSample
        shape = (3, 16, 16)
        image = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(index))
        image = image.flip(random.choice([1, 2])) * np.random.uniform(.5, 1.) * torch.rand(shape)
        return dict(inputs=image.byte(), data_samples=DataSample().set_gt_label(index % 5))


class Kill(Hook):
    """SIGKILL before the n-th step of this process."""
    priority = 'LOWEST'

    def __init__(self, steps):
        self.steps = steps

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if self.steps == 0:
            die()
        self.steps -= 1


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def kill_while_writing(file):
    """In the place of ``os.fsync``: half of the file is on the disk."""
    os.ftruncate(file, os.fstat(file).st_size // 2)
    die()


def kill_before_naming(replace):
    """In the place of ``os.replace``: the checkpoint is whole, and not yet the last one."""

    def replaced(*args):
        replace(*args)
        die()

    return replaced


def runner(name, work_dir, hooks=(), **fields):
    """mmengine's Runner for an entry of ``RUNS``."""
    loop, workers, keep, loss = RUNS[name]
    config = copy.deepcopy(ALGORITHMS[name][1])
    config['architecture']['train_cfg'] = MIXUP
    weight = dict(type='mmrazor.LossWeightHook', loss=loss, by_epoch=loop['by_epoch'], phases=[
        dict(begin=1, end=SAVES if loop['by_epoch'] else SAVES * INTERVAL, start=0., stop=1.)])
    torch.manual_seed(0)
    fields = dict(dict(
        model=MODELS.build(ConfigDict(config, _scope_='mmrazor')), work_dir=str(work_dir),
        train_dataloader=dict(batch_size=4, num_workers=workers, dataset=Images(),
                              sampler=loop['sampler']),
        train_cfg=dict(loop['train_cfg']),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=.02, momentum=.9)),
        param_scheduler=dict(type='CosineAnnealingLR', by_epoch=loop['by_epoch'], T_max=SAVES),
        default_hooks=dict(
            checkpoint=dict(type='mmrazor.WholeCheckpointHook', by_epoch=loop['by_epoch'],
                            interval=1 if loop['by_epoch'] else INTERVAL, max_keep_ckpts=keep)),
        custom_hooks=[dict(type='mmrazor.EpochSeedHook'), weight, *hooks],
        env_cfg=dict(mp_cfg=dict(mp_start_method='fork')),
        default_scope='mmpretrain', randomness=dict(seed=4), resume=True), **fields)
    return Runner(**fields)


def run(name, work_dir, kill=None, number=0, file_size=None):
    """Train to the end, or to death: 'step', 'writing' or 'naming', in the n-th such place."""
    torch.set_num_threads(1)
    register_all_modules(init_default_scope=False)
    Runner._log_env = lambda *_: None  # what the machine is made of, half a second
    hooks = [Kill(number)] if kill == 'step' else []
    if kill == 'writing':
        os.fsync = kill_while_writing
    if kill == 'naming':
        os.replace = kill_before_naming(os.replace)
    if file_size:  # a full disk, for this process
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    runner(name, work_dir, hooks).train()


def start(*args):
    """``run`` in a process of its own that has the imports behind it; gives its exit code."""
    fork = multiprocessing.get_context('forkserver')
    fork.set_forkserver_preload(['tests.reliability.resume_runs', 'tests.tools.toy',
                                 'mmdistill_ext.cli.command', 'mmpretrain.models',
                                 'mmpretrain.datasets'])
    process = fork.Process(target=run, args=args)
    process.start()
    process.join(120)
    return process.exitcode
