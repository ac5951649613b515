"""The embedded data: pictures made of what scikit-learn carries, and nothing to download."""
from .load_once import LoadOnce
from .make import make_data
from .scenes import SceneSettings

__all__ = ['LoadOnce', 'SceneSettings', 'make_data']
