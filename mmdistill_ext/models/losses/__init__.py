from .feature_l2 import FeatureL2Loss, FeatureMSELoss
from .kd import DecoupledKLLoss
from .tffd import TfFDInterLoss, TfFDIntraLoss

__all__ = [
    'DecoupledKLLoss', 'FeatureL2Loss', 'FeatureMSELoss', 'TfFDInterLoss', 'TfFDIntraLoss'
]
