from .link_distiller import LinkDistiller

__all__ = ['LinkDistiller']
