"""The smallest real batch for a config's model: raw images with the library's own annotations."""
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import TRANSFORMS

PACKERS = {'mmpretrain': dict(type='PackInputs'),
           'mmdet': dict(type='PackDetInputs'),
           'mmseg': dict(type='PackSegInputs', meta_keys=(
               'img_path', 'seg_map_path', 'ori_shape', 'img_shape', 'pad_shape', 'scale_factor',
               'flip', 'flip_direction', 'reduce_zero_label'))}


def tiny_batch(config: Config, size: int, images: int = 2, channels: int = 3,
               label: Any = None, ignored: bool = True) -> dict:
    """A batch as the dataloader gives it: raw uint8 images and the library's data samples.

    Every image has two objects, of the classes 0 and 1 that all datasets have.

    Args:
        config (Config): Of a library or of this project.
        size (int): Height and width.
        images (int): How many. Defaults to 2.
        channels (int): Of an image. Defaults to 3.
        label (optional): Of a classifier's image. None (default) is the image's number modulo 2.
        ignored (bool): Whether Cityscapes has pixels without a class here, as it has. Defaults to
            True.
    """
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks
    random = np.random.RandomState(0)
    pack = TRANSFORMS.build(PACKERS[config.default_scope])
    loads = str(config.train_dataloader.dataset)
    with_masks = "'with_mask': True" in loads or 'Panoptic' in loads
    samples = []
    for index in range(images):
        segments = np.zeros((size, size), np.uint8)
        segments[size // 2:] = 1
        if ignored and 'Cityscapes' in config.train_dataloader.dataset.type:
            segments[:4] = 255  # ignored; the embedded data has no such pixels
        edges = np.zeros((size, size), np.uint8)
        edges[size // 2 - 1:size // 2 + 1] = 1
        masks = np.zeros((2, size, size), np.uint8)
        masks[0, 8:size // 2, 8:size // 2] = 1
        masks[1, size // 4:-4, size // 4:-4] = 1
        boxes = np.array(
            [[8, 8, size // 2, size // 2], [size // 4, size // 4, size - 4, size - 4]], np.float32)
        found = dict(gt_masks=BitmapMasks(masks, size, size)) if with_masks else {}
        samples.append(pack(dict(
            found,
            img=random.randint(0, 256, (size, size, channels), np.uint8),
            img_id=index, img_path=f'{index}.jpg', img_shape=(size, size), ori_shape=(size, size),
            pad_shape=(size, size), scale_factor=(1., 1.), flip=False, flip_direction=None,
            gt_label=index % 2 if label is None else label,
            gt_bboxes=HorizontalBoxes(boxes), proposals=boxes,
            proposals_scores=np.ones(2, np.float32),
            gt_bboxes_labels=np.array([0, 1]), gt_ignore_flags=np.array([False, False]),
            gt_seg_map=segments, gt_edge_map=edges, seg_fields=['gt_seg_map', 'gt_edge_map'])))
    return pseudo_collate(samples)
