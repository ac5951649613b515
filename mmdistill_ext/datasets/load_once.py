"""A transform for data sets that fit into memory."""
import copy
from typing import ClassVar, Dict, List

from mmcv.transforms import BaseTransform, Compose
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadOnce(BaseTransform):
    """Run the inner transforms once for every image, and return copies afterwards.

    Put loading and everything that is not random inside. It stands in mmengine's registry, so
    the pipelines of every OpenMMLab library find it. The loaded images belong to the
    process: data sets with the same transforms share them, and so do processes forked later.

    Args:
        transforms (list[dict]): The pipeline's beginning.

    Examples:
        >>> import numpy as np
        >>> from mmengine.registry import TRANSFORMS
        >>> from mmdistill_ext.datasets import LoadOnce
        >>> resize = dict(type='Resize', scale=(4, 4))
        >>> once = TRANSFORMS.build(dict(type='LoadOnce', transforms=[resize]))
        >>> once(dict(img_path='a.png', img=np.zeros((8, 8, 3), np.uint8)))['img'].shape
        (4, 4, 3)
        >>> once(dict(img_path='a.png'))['img'].shape  # from memory: nothing is read or resized
        (4, 4, 3)
    """
    stores: ClassVar[Dict[str, Dict[str, dict]]] = {}

    def __init__(self, transforms: List[dict]) -> None:
        self.loaded = self.stores.setdefault(repr(transforms), {})
        self.transforms = Compose(transforms)

    def transform(self, results: dict) -> dict:
        key = results['img_path']
        if key not in self.loaded:
            self.loaded[key] = self.transforms(results)
        return copy.deepcopy(self.loaded[key])
