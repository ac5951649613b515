"""Three ways to write the same scenes, each in a layout that OpenMMLab's datasets read."""
import json
from pathlib import Path
from typing import List, Tuple

import cv2
import numpy as np
from pycocotools import mask as rle

from .scenes import Scene

CLASSES = tuple('0123456789')


class ImageNetFolder:
    """``imagenet/<split>/<class>/*.png``: one small picture around every digit.

    Neighbours and clutter that fall into the picture stay in it; the class is the digit's in the
    middle. Read by mmpretrain's ``ImageNet`` and ``CustomDataset``.

    Args:
        root (Path): The data set's folder.
        split (str): Name of the split.
        crop_size (int): Height and width of the pictures. Defaults to 32.
        margin (float): Side of the crop as a multiple of the digit's longer side. Defaults to 1.3.
    """

    def __init__(self, root: Path, split: str, crop_size: int = 32, margin: float = 1.3) -> None:
        self.root = root / 'imagenet' / split
        self.crop_size = crop_size
        self.margin = margin
        for name in CLASSES:
            (self.root / name).mkdir(parents=True)

    def add(self, name: str, scene: Scene, png: bytes) -> None:
        for number, (label, box) in enumerate(zip(scene.labels, scene.boxes())):
            path = self.root / CLASSES[label] / f'{name}_{number}.png'
            path.write_bytes(encode_png(self._crop(scene.image, box)))

    def _crop(self, image: np.ndarray, box: Tuple[int, int, int, int]) -> np.ndarray:
        x, y, width, height = box
        side = self.margin * max(width, height)
        scale = self.crop_size / side
        left, top = x + width / 2 - side / 2, y + height / 2 - side / 2
        # Maps pixel centres to pixel centres; what lies outside the scene is its mirror image.
        shift = (scale - 1) / 2
        matrix = np.array([[scale, 0, shift - left * scale], [0, scale, shift - top * scale]])
        return cv2.warpAffine(image, matrix, (self.crop_size, self.crop_size),
                              flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)

    def close(self) -> None:
        pass


class CocoJson:
    """``coco/<split>/*.png`` and ``coco/annotations/instances_<split>.json``, boxes and masks.

    Masks are run-length encoded. Read by mmdet's ``CocoDataset`` and ``CocoMetric`` with
    ``metainfo=dict(classes=CLASSES)``.

    Args:
        root (Path): The data set's folder.
        split (str): Name of the split.
    """

    def __init__(self, root: Path, split: str) -> None:
        self.images_root = root / 'coco' / split
        self.json = root / 'coco' / 'annotations' / f'instances_{split}.json'
        self.images_root.mkdir(parents=True)
        self.json.parent.mkdir(exist_ok=True)
        self.images: List[dict] = []
        self.annotations: List[dict] = []

    def add(self, name: str, scene: Scene, png: bytes) -> None:
        (self.images_root / f'{name}.png').write_bytes(png)
        height, width = scene.image.shape[:2]
        image_id = len(self.images) + 1
        self.images.append(
            dict(id=image_id, file_name=f'{name}.png', height=height, width=width))
        for label, box, mask in zip(scene.labels, scene.boxes(), scene.masks):
            code = rle.encode(np.asfortranarray(mask, dtype=np.uint8))
            self.annotations.append(dict(
                id=len(self.annotations) + 1,
                image_id=image_id,
                category_id=label + 1,
                bbox=list(box),
                area=int(mask.sum()),
                segmentation=dict(size=code['size'], counts=code['counts'].decode()),
                iscrowd=0))

    def close(self) -> None:
        categories = [dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)]
        self.json.write_text(json.dumps(dict(
            images=self.images, annotations=self.annotations, categories=categories)))


class CityscapesFolder:
    """``cityscapes/leftImg8bit/<split>/<city>`` and ``cityscapes/gtFine/<split>/<city>``.

    The photograph is the city. Label 0 is the background, 1 to 10 are the digits 0 to 9. Read by
    mmseg's ``CityscapesDataset``, which calls them 'road', 'sidewalk' and so on and takes no other
    names, or by its ``BaseSegDataset`` with Cityscapes' two suffixes and
    ``metainfo=dict(classes=('background', *CLASSES))``.

    Args:
        root (Path): The data set's folder.
        split (str): Name of the split.
    """

    def __init__(self, root: Path, split: str) -> None:
        self.pictures = root / 'cityscapes' / 'leftImg8bit' / split
        self.labels = root / 'cityscapes' / 'gtFine' / split

    def add(self, name: str, scene: Scene, png: bytes) -> None:
        label_map = np.zeros(scene.image.shape[:2], np.uint8)
        for label, mask in zip(scene.labels, scene.masks):
            label_map[mask] = label + 1
        for root, end, data in ((self.pictures, 'leftImg8bit', png),
                                (self.labels, 'gtFine_labelTrainIds', encode_png(label_map))):
            folder = root / scene.photo
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f'{name}_{end}.png').write_bytes(data)

    def close(self) -> None:
        pass


def encode_png(image: np.ndarray) -> bytes:
    """An RGB picture or a grey label map as the bytes of a PNG file."""
    if image.ndim == 3:
        image = image[..., ::-1]
    # Noise does not compress, so zlib need not search for repetitions: half the time, same size.
    how = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    return cv2.imencode('.png', image, how)[1].tobytes()
