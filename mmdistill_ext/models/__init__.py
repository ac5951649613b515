from . import algorithms, backbones, connectors, distillers, fcfd, losses

__all__ = ['algorithms', 'backbones', 'connectors', 'distillers', 'fcfd', 'losses']
