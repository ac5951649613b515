"""The demo's picture of what the trained students see."""
from pathlib import Path
from typing import Callable, Dict, List, Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mmengine.dataset import pseudo_collate
from torch import nn

RIGHT, WRONG = '#1a7f37', '#cf222e'
COLOURS = matplotlib.colormaps['tab10'](range(10))[:, :3]  # one for each digit


def predict(model: nn.Module, dataset, indices: Sequence[int]) -> list:
    """The data samples of some pictures, with the model's predictions in them."""
    with torch.no_grad():
        return model.test_step(pseudo_collate([dataset[index] for index in indices]))


def draw_predictions(task: str, models: Dict[str, nn.Module], dataset, path: Path) -> None:
    """A column of ground truth and one for every model, a row for every picture.

    In classification the pictures are small: they stand in one row, answers below each other.

    Args:
        task (str): 'cls', 'det' or 'seg'.
        models (dict[str, nn.Module]): Name of the run -> trained model.
        dataset (BaseDataset): The validation split.
        path (Path): The png to write.
    """
    count = 12 if task == 'cls' else 4
    # Evenly spread, so that every class and both photographs come in; nothing is picked by hand.
    indices = [round((i + .5) * len(dataset) / count) for i in range(count)]
    pictures = [dataset[index]['inputs'].permute(1, 2, 0).flip(-1).numpy() for index in indices]
    samples = {name: predict(model, dataset, indices) for name, model in models.items()}
    if task == 'cls':
        figure = _classes(pictures, samples)
    else:
        figure = _grid(pictures, samples, _boxes if task == 'det' else _segments)
    figure.savefig(path, dpi=80)


def _classes(pictures: List[np.ndarray], samples: Dict[str, list]) -> Figure:
    side, line = 1., .25  # inches: a picture, a line of answers
    width, height = side * (len(pictures) + 1), side + line * (len(samples) + .5)
    figure = Figure(figsize=(width, height))
    for column, picture in enumerate(pictures):
        left = side * (column + 1)
        axes = figure.add_axes((left / width, 1 - side / height, .95 * side / width, side / height))
        axes.imshow(picture)
        axes.axis('off')
        for row, answers in enumerate(samples.values()):
            truth, answer = int(answers[column].gt_label), int(answers[column].pred_label)
            figure.text((left + side / 2) / width, 1 - (side + line * (row + .5)) / height,
                        str(answer), ha='center', va='top',
                        color=RIGHT if answer == truth else WRONG)
    for row, name in enumerate(samples):
        figure.text(.9 * side / width, 1 - (side + line * (row + .5)) / height, name, ha='right',
                    va='top')
    return figure


def _grid(pictures: List[np.ndarray], samples: Dict[str, list], draw: Callable) -> Figure:
    columns = {'ground truth': next(iter(samples.values())), **samples}
    figure = Figure(figsize=(2 * len(columns), 2.1 * len(pictures)), layout='constrained')
    axes: List[List[Axes]] = figure.subplots(
        len(pictures), len(columns), squeeze=False).tolist()
    for column, (name, data) in enumerate(columns.items()):
        axes[0][column].set_title(name)
        for row, picture in enumerate(pictures):
            axes[row][column].imshow(picture)
            axes[row][column].axis('off')
            draw(axes[row][column], data[row], column == 0)
    return figure


def _boxes(axes: Axes, sample, truth: bool) -> None:
    found = sample.gt_instances if truth else sample.pred_instances
    if not truth:
        found = found[found.scores > .3]
    boxes = found.bboxes.tensor if hasattr(found.bboxes, 'tensor') else found.bboxes
    for (left, top, right, bottom), label in zip(boxes.tolist(), found.labels.tolist()):
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False,
                                 edgecolor=COLOURS[label], linewidth=1.5))
        axes.text(left, top, str(label), color='white', fontsize=7, va='bottom',
                  bbox=dict(facecolor=COLOURS[label], edgecolor='none', pad=.6))


def _segments(axes: Axes, sample, truth: bool) -> None:
    labels = (sample.gt_sem_seg if truth else sample.pred_sem_seg).data[0].numpy()
    shade = np.zeros((*labels.shape, 4))
    for label, colour in enumerate(COLOURS):
        shade[labels == label + 1] = (*colour, .85)  # 0 is the background
    axes.imshow(shade)
