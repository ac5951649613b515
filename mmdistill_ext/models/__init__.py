from . import algorithms, backbones, connectors, distillers, losses

__all__ = ['algorithms', 'backbones', 'connectors', 'distillers', 'losses']
