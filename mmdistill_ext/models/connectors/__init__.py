from .mlp import IdentityConnector, LinearConnector, MLPConnector
from .spatial import Conv3x3Connector, DeformableConnector, NonLocalConnector

__all__ = [
    'Conv3x3Connector', 'DeformableConnector', 'IdentityConnector', 'LinearConnector',
    'MLPConnector', 'NonLocalConnector'
]
