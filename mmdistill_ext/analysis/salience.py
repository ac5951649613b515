"""Which channels of a layer are strong, as Tf-FD ranks them, and how that changes in training."""
from pathlib import Path
from typing import Dict, Iterable, List, Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from mmengine.model import BaseModel
from scipy.stats import spearmanr

from ..models.losses.tffd_terms import channel_norms
from ..models.utils.dry_run import get_module
from ..models.utils.stages import default_stages
from . import figures
from .loading import feature_map, prepare
from .tables import Table

__all__ = ['layers_of', 'measure']

Salience = Dict[str, np.ndarray]  # layer -> [2, C]: mean norm, share of pictures in the upper half


@torch.no_grad()
def measure(model: BaseModel, layers: Sequence[str], batches: Iterable[dict]) -> Salience:
    """Per layer and channel the mean l2 norm, and how often it is in its picture's upper half.

    Args:
        model (BaseModel): The student.
        layers (Sequence[str]): Names of its modules that give maps [N, C, H, W].
        batches (Iterable[dict]): Of a dataloader.
    """
    norms: Dict[str, list] = {layer: [] for layer in layers}
    hooks = [get_module(model, layer, '--layers').register_forward_hook(
        lambda _, __, output, layer=layer, found=found: found.append(
            channel_norms(feature_map(output, layer, '--layers')).cpu()))
        for layer, found in norms.items()]
    for batch in batches:
        inputs, _, samples = prepare(model, batch)
        model(inputs, samples, mode='tensor')
    for hook in hooks:
        hook.remove()
    result = {}
    for layer, found in norms.items():
        all_norms = torch.cat(found)  # [N, C]
        ranks = all_norms.argsort(dim=1, descending=True, stable=True).argsort(1)
        upper = (ranks < all_norms.shape[1] // 2).double().mean(0)
        result[layer] = torch.stack([all_norms.double().mean(0), upper]).numpy()
    return result


def layers_of(model: BaseModel, named: Sequence[str]) -> List[str]:
    """The layers that are named, else the last module of every stage of the backbone."""
    return list(named) or default_stages(model.backbone, '--layers')


def table(found: Dict[str, Salience]) -> Table:
    """The csv: a row for every channel.

    Args:
        found (dict[str, Salience]): Name of the checkpoint -> what was measured.
    """
    return Table(
        ['checkpoint', 'layer', 'channel', 'mean l2 norm', 'rank', 'share of pictures salient'],
        [[name, layer, channel, float(norm), int(rank), float(upper)]
         for name, salience in found.items() for layer, both in salience.items()
         for channel, (norm, rank, upper) in enumerate(zip(
             both[0], (-both[0]).argsort(kind='stable').argsort(), both[1]))])


def summary(found: Dict[str, Salience]) -> Table:
    """Two numbers for each layer: weak half by strong half, and rank correlation with the first.

    Args:
        found (dict[str, Salience]): Name of the checkpoint -> what was measured.
    """
    first = next(iter(found.values()))
    return Table(
        ['checkpoint', 'layer', 'weak half / strong half', 'rank correlation with the first'],
        [[name, layer, weak_share(both[0]), float(spearmanr(first[layer][0], both[0])[0])]
         for name, salience in found.items() for layer, both in salience.items()])


def weak_share(norms: np.ndarray) -> float:
    """The mean norm of the weaker half of the channels by that of the stronger: 1 if all equal."""
    half, ordered = len(norms) // 2, np.sort(norms)
    return float(ordered[:half].sum() / ordered[-half:].sum())


def draw(found: Dict[str, Salience], path: Path) -> None:
    """One panel for each layer, one line for each checkpoint: channel norms from strong to weak.

    Args:
        found (dict[str, Salience]): Name of the checkpoint -> what was measured.
        path (Path): The png to write.
    """
    layers = list(next(iter(found.values())))
    columns = min(len(layers), 4)
    rows = -(-len(layers) // columns)
    figure = figures.new(max(4.5, 2.9 * columns), 2.9 * rows + .3 + .2 * len(found))
    panels: List[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    shades = matplotlib.colormaps['cividis'](np.linspace(.85, 0, max(len(found), 2)))
    for axes in panels[len(layers):]:
        axes.axis('off')
    for layer, axes in zip(layers, panels):
        axes.axvspan(0, 50, color=figures.GREY, alpha=.12, linewidth=0)
        for (name, salience), shade in zip(found.items(), shades):
            norms = np.sort(salience[layer][0])[::-1]
            axes.plot(100 * (np.arange(len(norms)) + .5) / len(norms), norms, color=shade,
                      marker='.', markersize=4, label=name)
        axes.set(xlabel='channels, strong to weak (%)', xlim=(0, 100))
        axes.set_ylim(bottom=0)
        axes.set_title(f'{layer} ({len(norms)} channels)', fontsize=10)
        axes.grid(alpha=.25)
    for axes in panels[::columns]:
        axes.set_ylabel('mean l2 norm of the map')
    figure.legend(*panels[0].get_legend_handles_labels(), loc='outside lower center', ncols=1,
                  fontsize=9, frameon=False)
    figure.suptitle('shaded: the salient half', fontsize=9, color=figures.GREY)
    figures.save(figure, path)
