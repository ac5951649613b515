"""Random numbers that do not depend on how often a run was interrupted."""
import random
from functools import partial
from typing import Any

from mmengine.dataset import worker_init_fn
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.runner.utils import set_random_seed
from mmrazor.registry import HOOKS

from ...errors import ConfigError


def seed_at(seed: int, time: int) -> int:
    """A seed for one epoch or iteration of one run.

    Hashed, as the paths of FCFD are drawn: with ``seed + time``, run 1 would draw in epoch 0 what
    run 0 draws in epoch 1, and seeds that share their random numbers are no independent runs.

    Args:
        seed (int): The run's seed.
        time (int): The epoch or iteration, from 0.
    """
    return random.Random(f'{seed} {time}').getrandbits(31)


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seeds all generators from the run's seed and the epoch when an epoch starts.

    mmengine's checkpoints hold no random state. With this hook a run that was resumed draws the
    augmentations and dropout masks of the run that was left alone. Workers are seeded anew in
    each epoch too, so they may not outlive one: ``persistent_workers=False``.

    Where training counts iterations (``IterBasedTrainLoop``), it seeds from the seed and the
    iteration before each batch is fetched. A resumed run fetches all batches before its own once
    more, as mmengine does there, so workers are where they were.

    Examples:
        >>> # In a config:
        >>> custom_hooks = [dict(type='mmrazor.EpochSeedHook')]
        >>> randomness = dict(seed=0)
        >>> # Its effect: epoch 3 draws the same numbers however often it is begun.
        >>> from types import SimpleNamespace
        >>> import torch
        >>> from mmrazor.registry import HOOKS
        >>> loader = torch.utils.data.DataLoader([0, 1])
        >>> runner = SimpleNamespace(seed=0, epoch=3, train_dataloader=loader)
        >>> hook = HOOKS.build(custom_hooks[0])
        >>> hook.before_train_epoch(runner)
        >>> first = torch.rand(4)
        >>> hook.before_train_epoch(runner)
        >>> torch.equal(torch.rand(4), first)
        True
    """

    def before_train(self, runner: Runner) -> None:
        """Refuse what no seed can repeat; where iterations count, seed before each batch."""
        loop, loader = runner.train_loop, runner.train_dataloader
        if runner._randomness_cfg.get('seed') is None:
            raise ConfigError('EpochSeedHook: the order of the images is drawn before a resumed '
                              'run knows its seed; set randomness=dict(seed=0) or another')
        if isinstance(loop, IterBasedTrainLoop):
            loop.dataloader_iterator = _Seeded(loop.dataloader_iterator, runner.seed)
            return
        if loader.num_workers and loader.persistent_workers:
            raise ConfigError('EpochSeedHook: train_dataloader.persistent_workers=True keeps '
                              'random states that no checkpoint holds; set it to False')
        if any(isinstance(hook, CheckpointHook) and not hook.by_epoch for hook in runner.hooks):
            raise ConfigError('EpochSeedHook: CheckpointHook(by_epoch=False) saves within an '
                              'epoch, which a resumed run begins anew; expected by_epoch=True, '
                              'or training that counts iterations (train_cfg.by_epoch=False)')

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed this process and the workers it is about to start."""
        seed = seed_at(runner.seed, runner.epoch)
        set_random_seed(seed)
        loader = runner.train_dataloader
        if getattr(loader.worker_init_fn, 'func', None) is worker_init_fn:
            # It adds the number of the worker among those of all ranks.
            loader.worker_init_fn = partial(loader.worker_init_fn, seed=seed)


class _Seeded:
    """mmengine's endless iterator, each of whose batches is fetched with a seed of its own."""

    def __init__(self, batches: Any, seed: int) -> None:
        self.batches, self.seed, self.iteration = batches, seed, 0

    def __next__(self) -> Any:
        set_random_seed(seed_at(self.seed, self.iteration))
        self.iteration += 1
        return next(self.batches)
