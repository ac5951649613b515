from .feature_l2 import FeatureL2Loss
from .tffd import TfFDInterLoss, TfFDIntraLoss

__all__ = ['FeatureL2Loss', 'TfFDInterLoss', 'TfFDIntraLoss']
