"""Feature distillation for MMRazor: channel MLP, FCFD and Tf-FD."""
from . import compat

compat.enable()

from . import engine, models  # noqa: E402

__version__ = '0.1.0'
__all__ = ['compat', 'engine', 'models', '__version__']
