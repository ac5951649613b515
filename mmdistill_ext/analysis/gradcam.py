"""Grad-CAM of several networks on the same pictures: where do they look?"""
import textwrap
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np
import torch
from mmengine.model import BaseModel
from pytorch_grad_cam import GradCAM
from torch import Tensor, nn

from ..models.utils.dry_run import get_module
from ..models.utils.stages import default_stages
from . import figures
from .loading import feature_map
from .tables import Table


class Look(NamedTuple):
    """The Grad-CAM of one network on one image.

    Args:
        heat (np.ndarray): [H, W], 0 to 1; zeros where nothing speaks for the class.
        said (str): What it says of the class that is explained.
    """
    heat: np.ndarray
    said: str


class Network(nn.Module):
    """A network in the form that the CAM library expects: input tensor to explained score.

    Args:
        model (BaseModel): A classifier, segmentor or detector; all of it gets gradients.
        layer (str, optional): The module whose maps are weighed. Defaults to the last stage of
            the backbone.
        classes (Sequence[str], optional): Their names. Defaults to their numbers.
    """

    def __init__(self, model: BaseModel, layer: Optional[str] = None,
                 classes: Optional[Sequence[str]] = None) -> None:
        super().__init__()
        from mmdet.models import BaseDetector
        self.model = model.float().requires_grad_(True).eval()
        layer = layer or default_stages(model.backbone, '--layer')[-1]
        self.layer = [get_module(model, layer, '--layer')]  # in a list: it is a child already

        def check(_, __, output):
            feature_map(output, layer, '--layer')

        self.layer[0].register_forward_hook(check)
        self.detects = isinstance(model, BaseDetector)
        self.classes = classes
        self.samples: list = []

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [N, classes] or [N, classes, H, W]; of detectors the sum of all scores, [N]."""
        inputs = inputs.float().contiguous()  # a teacher may be in bf16 and channels_last
        if not self.detects:
            return self.model(inputs, self.samples, mode='tensor')
        with attached():
            found = self.model.predict(inputs, self.samples, rescale=False)
        return torch.stack([sample.pred_instances.scores.sum() for sample in found])

    @torch.no_grad()
    def category(self, inputs: Tensor, samples: list) -> Optional[int]:
        """The class to explain: the predicted one; of a segmentation the largest class but one.

        The largest is the background, or the road. All detections are explained together.
        """
        if self.detects:
            return None
        self.samples = samples
        logits = self(inputs)[0]
        if logits.ndim == 1:
            return int(logits.argmax())
        sizes = logits.argmax(0).flatten().bincount(minlength=len(logits))
        first, second = sizes.argsort(descending=True)[:2].tolist()
        return second if sizes[second] else first

    def look(self, inputs: Tensor, samples: list, category: Optional[int]) -> Look:
        """Grad-CAM on one picture.

        Args:
            inputs (Tensor): [1, 3, H, W], normalised.
            samples (list): The picture's data sample.
            category (int, optional): The class to explain; None for a detector.
        """
        self.samples, said = samples, []
        if self.detects:
            with torch.no_grad():
                if not self(inputs).item():  # a sum of nothing has no gradient
                    return Look(np.zeros(inputs.shape[2:], np.float32), 'detects nothing')

        def target(output: Tensor) -> Tensor:
            if category is None:
                said.append(f'sum of scores {output.item():.1f}')
                return output
            name = self.classes[category] if self.classes else f'class {category}'
            if output.ndim == 1:
                said.append(f'{name}: {output.softmax(0)[category].item():.0%}')
                return output[category]
            share = (output.argmax(0) == category).double().mean().item()
            said.append(f'{name}: {share:.1%} of the picture')
            return output[category].sum()

        with GradCAM(self, self.layer) as cam:
            return Look(cam(inputs, [target])[0], said[0])


@contextmanager
def attached() -> Iterator[None]:
    """mmdet detaches what its dense heads predict; here a gradient goes through it."""
    from mmdet.models.dense_heads import base_dense_head as module
    select = module.select_single_mlvl
    module.select_single_mlvl = lambda maps, image, detach=True: select(maps, image, False)
    try:
        yield
    finally:
        module.select_single_mlvl = select


def likeness(one: np.ndarray, other: np.ndarray) -> Optional[float]:
    """The cosine of two heat maps; None where one is empty."""
    norms = np.linalg.norm(one) * np.linalg.norm(other)
    return float((one * other).sum() / norms) if norms else None


def table(files: Sequence[str], looks: Sequence[Dict[str, Look]]) -> Table:
    """The csv: a row for every picture and network.

    Args:
        files (Sequence[str]): The pictures' names.
        looks (Sequence[dict[str, Look]]): For each picture, name of the network -> what it sees.
    """
    rows: List[list] = []
    for file, seen in zip(files, looks):
        first = next(iter(seen.values()))
        rows += [[file, name, each.said, likeness(first.heat, each.heat)]
                 for name, each in seen.items()]
    return Table(['picture', 'network', 'says', 'cosine to the first network'], rows)


def draw(pictures: Sequence[np.ndarray], looks: Sequence[Dict[str, Look]], path: Path) -> None:
    """A row for every picture: itself, then what each network looks at.

    Args:
        pictures (Sequence[np.ndarray]): [H, W, 3], RGB, 0 to 255.
        looks (Sequence[dict[str, Look]]): For each picture, name of the network -> what it sees.
        path (Path): The png to write.
    """
    names = list(looks[0])
    height = 2.1 * max(picture.shape[0] / picture.shape[1] for picture in pictures)
    words = [[textwrap.fill(each.said, 27) for each in seen.values()] for seen in looks]
    lines = 1 + max(said.count('\n') for row in words for said in row)
    figure = figures.new(2.2 * (1 + len(names)) + .7,
                         (height + .15 + .15 * lines) * len(pictures) + .3)
    grid = figure.subplots(len(pictures), 1 + len(names), squeeze=False)
    for row, picture, seen, said in zip(grid, pictures, looks, words):
        for axes in row:
            axes.set(xticks=[], yticks=[])
        row[0].imshow(picture)
        for axes, each, below in zip(row[1:], seen.values(), said):
            rows, columns = picture.shape[:2]
            axes.imshow(picture.mean(-1), cmap='gray', vmin=0, vmax=255)
            heat = axes.imshow(each.heat[:rows, :columns], cmap='inferno', alpha=.6, vmin=0,
                               vmax=1)
            axes.set_xlabel(below, fontsize=9)
    for axes, name in zip(grid[0], ['picture', *names]):
        axes.set_title(name, fontsize=11)
    bar = figure.colorbar(heat, ax=grid, shrink=min(1, 2 / len(pictures)), aspect=15)
    if bar.solids is not None:  # of a colour map it never is
        bar.solids.set_alpha(1)
    bar.set_label('how much it speaks for the class', fontsize=9)
    bar.set_ticks([0, 1], labels=['none', 'most'])
    figures.save(figure, path)
