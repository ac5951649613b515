"""Splits VOC2007's test images anew, into 3,952 to train on and 1,000 to validate on.

    python -m projects.study.voc2007 VOCdevkit/VOC2007 data/voc2007

The first folder is what VOCtest_06-Nov-2007.tar holds. Images are shrunk to a longest side of 320;
boxes that VOC calls difficult are crowds, which COCO's evaluation ignores.
"""
import argparse
import json
import random
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from mmdet.datasets import VOCDataset
from PIL import Image

from mmdistill_ext.cli import command as cli
from mmdistill_ext.errors import ConfigError

CLASSES = VOCDataset.METAINFO['classes']
SIDE, VALIDATION, SEED = 320, 1000, 0


def split_of(names: Sequence[str], validation: int = VALIDATION) -> Dict[str, List[str]]:
    """The names of both splits, sorted: the first of a shuffled list validate."""
    shuffled = sorted(names)
    random.Random(SEED).shuffle(shuffled)
    return dict(train=sorted(shuffled[validation:]), val=sorted(shuffled[:validation]))


def boxes_of(path: Path, scale: Tuple[float, float]) -> List[dict]:
    """COCO's annotations of an image; VOC counts pixels from 1 and the last is in the box."""
    boxes = []
    for item in ElementTree.parse(path).getroot().iter('object'):
        left, top, right, bottom = (float(item.findtext(f'bndbox/{side}') or 'nan')
                                    for side in ('xmin', 'ymin', 'xmax', 'ymax'))
        box = [(left - 1) * scale[0], (top - 1) * scale[1],
               (right - left + 1) * scale[0], (bottom - top + 1) * scale[1]]
        difficult = int(item.findtext('difficult') or 0)
        boxes.append(dict(category_id=1 + CLASSES.index(item.findtext('name') or ''),
                          bbox=[round(side, 2) for side in box], area=round(box[2] * box[3], 1),
                          iscrowd=difficult, difficult=difficult))
    return boxes


def shrink(source: Path, target: Path) -> Tuple[int, int, Tuple[float, float]]:
    """Write an image; gives its width and height, and how much smaller it is."""
    image = Image.open(source).convert('RGB')
    factor = SIDE / max(image.size)
    width, height = (round(side * factor) for side in image.size)
    image.resize((width, height), Image.Resampling.LANCZOS).save(target, quality=95)
    return width, height, (width / image.width, height / image.height)


def main(argv: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('devkit', type=Path)
    parser.add_argument('out', type=Path)
    args = parser.parse_args(argv)
    listed = args.devkit / 'ImageSets/Main/test.txt'
    if not listed.is_file():
        raise ConfigError(f'no {listed}: expected the folder VOCdevkit/VOC2007 of '
                          'VOCtest_06-Nov-2007.tar')
    for folder in ('images', 'annotations'):
        (args.out / folder).mkdir(parents=True, exist_ok=True)
    categories = [dict(id=i, name=name) for i, name in enumerate(CLASSES, 1)]
    for split, names in split_of(listed.read_text().split()).items():
        images: List[dict] = []
        boxes: List[dict] = []
        for name in names:
            width, height, scale = shrink(args.devkit / f'JPEGImages/{name}.jpg',
                                          args.out / f'images/{name}.jpg')
            images.append(dict(id=int(name), file_name=f'{name}.jpg', width=width, height=height))
            boxes += [dict(box, id=len(boxes) + i, image_id=int(name)) for i, box in enumerate(
                boxes_of(args.devkit / f'Annotations/{name}.xml', scale), 1)]
        (args.out / f'annotations/{split}.json').write_text(json.dumps(
            dict(images=images, annotations=boxes, categories=categories)))
    return 0


if __name__ == '__main__':
    cli.main(main)
