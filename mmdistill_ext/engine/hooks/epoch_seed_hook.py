"""Random numbers that do not depend on how often a run was interrupted."""
from mmengine.hooks import Hook
from mmengine.runner.utils import set_random_seed
from mmrazor.registry import HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seeds all generators with ``seed + epoch`` when an epoch starts.

    mmengine's checkpoints hold no random state. With this hook a run that was resumed draws the
    augmentations and dropout masks of the run that was left alone, as long as no worker process
    outlives an epoch: ``num_workers=0`` or ``persistent_workers=False``.
    """

    def before_train_epoch(self, runner) -> None:
        set_random_seed(runner.seed + runner.epoch)
