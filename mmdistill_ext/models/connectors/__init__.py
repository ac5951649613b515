from .fcfd_bridge import FCFDBridge
from .mlp import IdentityConnector, LinearConnector, MLPConnector
from .simkd_projector import SimKDProjector
from .spatial import Conv3x3Connector, DeformableConnector, NonLocalConnector

__all__ = [
    'Conv3x3Connector', 'DeformableConnector', 'FCFDBridge', 'IdentityConnector',
    'LinearConnector', 'MLPConnector', 'NonLocalConnector', 'SimKDProjector'
]
