"""Pictures are decoded once, and what is handed out can be changed without harm."""
import cv2
import numpy as np
from mmcv.transforms import Compose

from mmdistill_ext.datasets import LoadOnce


def test_decodes_once_and_hands_out_copies(tmp_path):
    path = str(tmp_path / 'a.png')
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    cv2.imwrite(path, picture)
    pipeline = Compose([dict(type='LoadOnce', transforms=[dict(type='LoadImageFromFile')])])
    assert isinstance(pipeline.transforms[0], LoadOnce)
    first = pipeline(dict(img_path=path))
    first['img'][:] = 0
    (tmp_path / 'a.png').unlink()
    assert np.array_equal(pipeline(dict(img_path=path))['img'], picture)
