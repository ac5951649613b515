from .closeness_hook import ClosenessHook
from .epoch_seed_hook import EpochSeedHook
from .finite_loss_hook import FiniteLossHook
from .list_patches_hook import ListPatchesHook
from .loss_weight_hook import LossWeightHook
from .same_classes_hook import SameClassesHook
from .whole_checkpoint_hook import WholeCheckpointHook

__all__ = ['ClosenessHook', 'EpochSeedHook', 'FiniteLossHook', 'ListPatchesHook',
           'LossWeightHook', 'SameClassesHook', 'WholeCheckpointHook']
