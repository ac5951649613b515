from .feature_l2 import FeatureL2Loss, FeatureMSELoss, feature_l2, feature_mse
from .kd import DecoupledKLLoss, decoupled_kl, kl_divergence
from .tffd import TfFDInterLoss, TfFDIntraLoss
from .tffd_released import released_inter_layers, released_intra_layers
from .tffd_terms import inter_layers, intra_layers

__all__ = [
    'DecoupledKLLoss', 'FeatureL2Loss', 'FeatureMSELoss', 'TfFDInterLoss', 'TfFDIntraLoss',
    'decoupled_kl', 'feature_l2', 'feature_mse', 'inter_layers', 'intra_layers', 'kl_divergence',
    'released_inter_layers', 'released_intra_layers'
]
