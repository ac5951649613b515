from .closeness_hook import ClosenessHook
from .epoch_seed_hook import EpochSeedHook
from .finite_loss_hook import FiniteLossHook
from .loss_weight_hook import LossWeightHook
from .same_classes_hook import SameClassesHook

__all__ = ['ClosenessHook', 'EpochSeedHook', 'FiniteLossHook', 'LossWeightHook', 'SameClassesHook']
