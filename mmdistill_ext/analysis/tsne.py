"""The teacher's and the student's features in one t-SNE map."""
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple

import numpy as np
import torch
from mmengine.model import BaseModel
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from . import figures
from .pairs import pairs
from .tables import Table

__all__ = ['embed', 'features']

NEIGHBOURS, ENOUGH = 10, 3  # of a point in the map, and how many of the other network's overlap
NETWORKS = ('teacher', 'student')


class Map(NamedTuple):
    """One place, all pictures, both networks.

    Args:
        name (str): Of the pair.
        points (np.ndarray): [2, N, 2]: the teacher's N pictures, then the student's.
        others (np.ndarray): [2, N]: how many of a point's neighbours are the other network's.
    """
    name: str
    points: np.ndarray
    others: np.ndarray

    @property
    def overlap(self) -> np.ndarray:
        """[2, N]: which points have enough neighbours of the other network."""
        return self.others >= ENOUGH


def features(algorithm: BaseModel, batches: Iterable[dict]) -> Dict[str, np.ndarray]:
    """[2, N, C] for every pair: the teacher's features and the bridged student's, mean over H, W.

    Args:
        algorithm (BaseModel): With connectors as they were trained.
        batches (Iterable[dict]): Of a dataloader.
    """
    found: Dict[str, list] = {}
    for batch in batches:
        for pair in pairs(algorithm, batch):
            both = [x.flatten(2).mean(2) if x.ndim > 2 else x for x in (pair.teacher, pair.bridged)]
            found.setdefault(pair.name, []).append(torch.stack(both).cpu())
    return {name: torch.cat(parts, 1).numpy() for name, parts in found.items()}


def embed(name: str, both: np.ndarray) -> Map:
    """Both networks' features in one map.

    Args:
        name (str): Of the pair.
        both (np.ndarray): [2, N, C].
    """
    count = both.shape[1]
    perplexity = min(30, (2 * count - 1) / 3)  # scikit-learn's default, less for few pictures
    flat = TSNE(init='pca', perplexity=perplexity, random_state=0).fit_transform(
        both.reshape(2 * count, -1))
    return Map(name, flat.reshape(2, count, 2), other_neighbours(flat).reshape(2, count))


def other_neighbours(points: np.ndarray) -> np.ndarray:
    """How many of each point's nearest neighbours are of the other half.

    Args:
        points (np.ndarray): [2 * N, D].
    """
    half = len(points) // 2
    search = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(points) - 1)).fit(points)
    near = search.kneighbors(return_distance=False)  # of each, itself not among them
    return ((near >= half) != (np.arange(len(points)) >= half)[:, None]).sum(1)


def table(maps: List[Map]) -> Table:
    """The csv: a row for every point."""
    return Table(
        ['place', 'network', 'picture', 'x', 'y',
         f"the other network's of {NEIGHBOURS} neighbours", 'overlap'],
        [[each.name, network, i, *map(float, each.points[side, i]), int(each.others[side, i]),
          int(each.overlap[side, i])]
         for each in maps for side, network in enumerate(NETWORKS)
         for i in range(each.points.shape[1])])


def summary(maps: List[Map]) -> Table:
    """What is shown on the screen."""
    return Table(['place', 'pictures', 'overlap (%)'],
                 [[each.name, each.points.shape[1], 100 * float(each.overlap.mean())]
                  for each in maps])


def draw(maps: List[Map], path: Path) -> None:
    """A panel for every place.

    Args:
        maps (list[Map]): What was embedded.
        path (Path): The png to write.
    """
    columns = min(len(maps), 4)
    rows = -(-len(maps) // columns)
    figure = figures.new(max(4.2, 2.9 * columns), 3 * rows + .5)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels:
        axes.axis('off')
    for each, axes in zip(maps, panels):
        axes.axis('on')
        axes.set(xticks=[], yticks=[])
        axes.set_title(f'{each.name}: {each.overlap.mean():.0%} overlap', fontsize=10)
        for side, (colour, marker) in enumerate(
                ((figures.TEACHER, 'o'), (figures.STUDENT, '^'))):
            for chosen, shade, alpha in ((~each.overlap, colour, .9),
                                         (each.overlap, figures.OVERLAP, .45)):
                axes.scatter(*each.points[side, chosen[side]].T, s=13, color=shade, alpha=alpha,
                             marker=marker, linewidths=0)
    names = ((figures.TEACHER, 'o', 'teacher'), (figures.STUDENT, '^', 'student, bridged'),
             (figures.OVERLAP, 's', f'overlap: {ENOUGH} or more of {NEIGHBOURS} neighbours are '
              "the other's"))
    handles = [axes.scatter([], [], color=colour, marker=marker, label=label)
               for colour, marker, label in names]
    figure.legend(handles=handles, loc='outside lower center', ncols=3 if columns > 1 else 1,
                  fontsize=9, frameon=False)
    figures.save(figure, path)
