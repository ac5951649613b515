"""Detections and segmentations beside the ground truth, drawn by OpenMMLab's visualizers."""
import copy
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

import matplotlib
import mmcv
import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, PixelData

from ..errors import ConfigError
from . import figures
from .tables import Table

SCORE, IOU = .3, .5  # what is drawn and counted; what counts as found
SIDE, FONT = 320, 14  # pixels: smaller pictures are enlarged; labels


class Kind(NamedTuple):
    """How a task is drawn and counted.

    Args:
        visualizer (type): OpenMMLab's.
        numbers (tuple[str]): Columns of the csv.
        words (str): The numbers below a picture.
        count_right (Callable): From a data sample and the number of classes to those numbers.
    """
    visualizer: type
    numbers: Tuple[str, ...]
    words: str
    count_right: Callable[[BaseDataElement, int], tuple]


def kind_of(model: BaseModel) -> Kind:
    """Detection or segmentation."""
    from mmdet.models import BaseDetector
    from mmdet.visualization import DetLocalVisualizer
    from mmseg.models import BaseSegmentor
    from mmseg.visualization import SegLocalVisualizer
    if isinstance(model, BaseDetector):
        class ReadableVisualizer(DetLocalVisualizer):
            """mmdet's labels are only 6 pixels high on all but large boxes."""

            def draw_texts(self, *args, font_sizes=FONT, **kwargs):
                return super().draw_texts(*args, font_sizes=max(font_sizes, FONT), **kwargs)

        columns = 'objects', f'detections (score > {SCORE})', f'right (IoU {IOU})'
        return Kind(ReadableVisualizer, columns, '{2} of {0} found, {1} detections', count_boxes)
    if isinstance(model, BaseSegmentor):
        return Kind(SegLocalVisualizer, ('right pixels (%)', 'mIoU (%)'),
                    'right: {:.1f} %, mIoU {:.1f} %', count_pixels)
    raise ConfigError(f'{type(model).__name__} neither detects nor segments; what a classifier '
                      'answers is in the picture of tools/analysis/gradcam.py')


def count_boxes(sample: BaseDataElement, classes: int) -> tuple:
    """Objects, detections, and how many of these are right: each object is found once."""
    from mmdet.evaluation.functional.mean_ap import tpfp_default
    found = sample.pred_instances[sample.pred_instances.scores > SCORE].cpu()
    boxes = torch.cat([found.bboxes, found.scores[:, None]], 1).numpy()
    truth = np.array(_boxes(sample.gt_instances).cpu(), dtype=np.float32).reshape(-1, 4)
    labels = sample.gt_instances.labels.cpu().numpy()
    none_ignored = np.zeros((0, 4), np.float32)
    right = sum(tpfp_default(boxes[found.labels.numpy() == label], truth[labels == label],
                             none_ignored, IOU)[0].sum() for label in range(classes))
    return len(truth), len(boxes), int(right)


def count_pixels(sample: BaseDataElement, classes: int) -> tuple:
    """Right pixels and the mean IoU over the classes that are in the picture or its prediction."""
    from mmseg.evaluation import IoUMetric
    found, truth = (x.data.squeeze(0).cpu() for x in (sample.pred_sem_seg, sample.gt_sem_seg))
    both, either, _, there = IoUMetric.intersect_and_union(found, truth, classes, 255)
    ious = (both / either)[either > 0]
    return 100 * float(both.sum() / there.sum()), 100 * float(ious.mean())


def predict(model: BaseModel, batch: dict) -> BaseDataElement:
    """The data sample of a batch of one, with truth and prediction."""
    with torch.no_grad():
        sample, = model.test_step(copy.deepcopy(batch))
    return sample.cpu()


def draw_sample(kind: Kind, sample: BaseDataElement, meta: dict, truth: bool) -> np.ndarray:
    """The picture with its truth or its prediction, [H, W, 3] in RGB.

    Args:
        kind (Kind): What to draw.
        sample (BaseDataElement): Names its picture.
        meta (dict): The data set's, with classes and a palette.
        truth (bool): The truth, or the prediction.
    """
    picture, sample = _enlarged(mmcv.imread(sample.img_path, channel_order='rgb'), sample)
    visualizer = kind.visualizer(alpha=.7 if kind.count_right is count_boxes else .6)
    visualizer.dataset_meta = meta
    options = dict(pred_score_thr=SCORE) if kind.count_right is count_boxes else {}
    visualizer.add_datasample('', picture, sample, draw_gt=truth, draw_pred=not truth, **options)
    return visualizer.get_image()


def _boxes(instances: BaseDataElement) -> torch.Tensor:
    return getattr(instances.bboxes, 'tensor', instances.bboxes)


def _enlarged(picture: np.ndarray, sample: BaseDataElement) -> Tuple[np.ndarray, BaseDataElement]:
    """Enlarge a small image by a whole factor, with its boxes and segments."""
    times = -(-SIDE // min(picture.shape[:2]))
    sample = copy.deepcopy(sample)
    for name in ('gt_sem_seg', 'pred_sem_seg'):
        if name in sample:
            data = sample.get(name).data.repeat_interleave(times, 1).repeat_interleave(times, 2)
            setattr(sample, name, PixelData(data=data))
    for name in ('gt_instances', 'pred_instances'):
        if name in sample:
            instances = sample.get(name)
            instances.bboxes = _boxes(instances) * times
            if 'masks' in instances and times > 1:
                del instances.masks
    return mmcv.imrescale(picture, times, interpolation='bicubic') if times > 1 else picture, sample


def dataset_meta(metainfo: dict) -> dict:
    """Classes and palette; a palette of our own where the data set has none for its classes."""
    classes, palette = metainfo['classes'], metainfo.get('palette') or ()
    more = matplotlib.colormaps['tab20b'](range(20))  # five hues, in four shades from dark to light
    colours = [*figures.COLOURS, *(more[hue + shade] for shade in (2, 3, 1, 0)
                                   for hue in range(0, 20, 4))]
    own = [tuple(int(255 * x) for x in matplotlib.colors.to_rgb(colours[i % len(colours)]))
           for i in range(len(classes))]
    if classes[0] == 'background':
        own = [(0, 0, 0), *own[:-1]]
    return dict(classes=classes, palette=palette if len(palette) == len(classes) else own)


def table(rows: List[tuple], kind: Kind) -> Table:
    """The csv: a row for every picture and network."""
    return Table(['picture', 'network', *kind.numbers], rows)


def draw(drawn: Sequence[Dict[str, Tuple[np.ndarray, str]]], path: Path) -> None:
    """A row for every picture, a column for the truth and for every network.

    Args:
        drawn (Sequence[dict]): Name of the column -> [H, W, 3], and what to write below.
        path (Path): The png to write.
    """
    names = list(drawn[0])
    height = 2.9 * max(p.shape[0] / p.shape[1] for row in drawn for p, _ in row.values())
    figure = figures.new(2.9 * len(names), (height + .3) * len(drawn) + .3)
    grid = figure.subplots(len(drawn), len(names), squeeze=False)
    for row, columns in zip(grid, drawn):
        for axes, name in zip(row, names):
            picture, words = columns[name]
            axes.imshow(picture)
            axes.set(xticks=[], yticks=[])
            axes.set_xlabel(words, fontsize=9)
    for axes, name in zip(grid[0], names):
        axes.set_title(name, fontsize=11)
    figures.save(figure, path)
