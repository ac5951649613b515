from .fcfd import FeatureMSELoss
from .fcfd_answers import DenseAnswerLoss, PixelAnswerLoss, RoIAnswerLoss
from .feature_l2 import FeatureL2Loss
from .kd import DecoupledKLLoss
from .tffd import TfFDInterLoss, TfFDIntraLoss

__all__ = [
    'DecoupledKLLoss', 'DenseAnswerLoss', 'FeatureL2Loss', 'FeatureMSELoss', 'PixelAnswerLoss',
    'RoIAnswerLoss', 'TfFDInterLoss', 'TfFDIntraLoss'
]
