from .epoch_seed_hook import EpochSeedHook
from .loss_weight_hook import LossWeightHook

__all__ = ['EpochSeedHook', 'LossWeightHook']
