"""The embedded data: images made from the data that scikit-learn ships; nothing is downloaded."""
from .load_once import LoadOnce
from .make import make_data
from .scenes import SceneSettings

__all__ = ['LoadOnce', 'SceneSettings', 'make_data']
