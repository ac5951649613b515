"""Runs below given folders, and the curve of each: for learning curves and reports."""
import os
import re
import statistics
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from ..errors import ConfigError, nearest
from .runs import curve, read_scalars, seconds_per_step

__all__ = ['Run', 'find']

NOT_METRICS = ('time', 'data_time', 'step', 'epoch', 'iter', 'memory', 'lr')
USUAL = ('accuracy/top1', 'coco/bbox_mAP', 'mIoU')  # what is shown of several, if it is there
CLOSENESS = 'closeness/'  # of every name that ClosenessHook logs
SEED = re.compile(r'seed[-_]?\d+')
Points = Sequence[Tuple[int, float]]


class Run(NamedTuple):
    """One run, or one row of several seeds.

    Args:
        name (str): Where it is, from the folder that was given.
        metric (str): What mmengine calls it.
        unit (str): Of the steps, 'epoch' or 'iteration'.
        curves (list[Points]): The metric on the validation data; one for each seed.
        step (float): Seconds, median of training steps.
    """
    name: str
    metric: str
    unit: str
    curves: List[Points]
    step: float

    @property
    def last(self) -> List[float]:
        """The last value of each seed."""
        return [points[-1][1] for points in self.curves]

    @property
    def points(self) -> Points:
        """The curve, the mean of all seeds where they have the same steps."""
        steps = sorted(set.intersection(*({step for step, _ in each} for each in self.curves)))
        values = [dict(each) for each in self.curves]
        return [(step, statistics.fmean(value[step] for value in values)) for step in steps]


def find(folders: Sequence[Path], metric: Optional[str] = None) -> List[Run]:
    """The runs in and below folders, those of several seeds (``seed-0``, ``seed-1``) as one.

    Runs by which a study chose hyper-parameters (``tune-*``) are left out.

    Args:
        folders (Sequence[Path]): Work dirs of runs, or folders that hold several.
        metric (str, optional): Which metric. Defaults to the usual one of the task.
    """
    paths = _paths(folders)
    names = _names(paths)
    found: Dict[str, List[Tuple[str, str, Points, float]]] = {name: [] for name in names.values()}
    for path, name in names.items():
        found[name].extend(_read(path, metric))
    runs = [Run(name, *parts[0][:2], [part[2] for part in parts],
                statistics.median(part[3] for part in parts))
            for name, parts in found.items() if parts]
    if not runs:
        where = ', '.join(map(str, folders))
        known = list(dict.fromkeys(key for path in paths for key in _metrics(read_scalars(path))))
        raise ConfigError(f'{where}: no metric {metric!r}; {nearest(metric, known)}'
                          if metric and known else f'{where}: no run has been validated yet')
    missing = [name for name, parts in found.items() if not parts]
    if missing:  # not validated yet, or a detector that detects nothing: mmdet gives no number
        print(f'left out, no {metric or "metric"} in the log: {", ".join(missing)}')
    return runs


def closeness(folders: Sequence[Path]) -> Dict[Tuple[str, str], Dict[str, Points]]:
    """What ``ClosenessHook`` logged: (run, kind of figure) -> place -> its curve."""
    paths = _paths(folders)
    found: Dict[Tuple[str, str], Dict[str, Points]] = {}
    for path, name in _names(paths).items():
        seed = f' {path.name}' if SEED.fullmatch(path.name) else ''
        scalars = read_scalars(path)
        keys = dict.fromkeys(key for entry in scalars for key in entry
                             if key.startswith(CLOSENESS))
        for key in keys:
            place, kind = key[len(CLOSENESS):].rsplit('/', 1)
            kind, _, when = kind.partition('_')
            label = f'{place}, {when} the connector' if when else place
            found.setdefault((name + seed, kind), {})[label] = curve(scalars, key)
    return found


def _paths(folders: Sequence[Path]) -> Dict[Path, Path]:
    """Each run once, and the folder that it was found in."""
    found: Dict[Path, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise ConfigError(f'no folder at {folder}')
        paths = sorted({path.parents[2] for path in folder.rglob('vis_data/scalars.json')})
        if not paths:
            raise ConfigError(f'{folder}: no run of mmengine here, which would leave '
                              '*/vis_data/scalars.json')
        for path in paths:
            if not path.name.startswith('tune-'):
                found.setdefault(path.resolve(), folder.resolve())
    return found


def _names(paths: Dict[Path, Path]) -> Dict[Path, str]:
    """The path from the folder that was given; from above it where two would be called the same."""
    runs = {path: path.parent if SEED.fullmatch(path.name) else path for path in paths}
    names = {path: folder.name if runs[path] in (folder, folder.parent)
             else str(runs[path].relative_to(folder)) for path, folder in paths.items()}
    if len(set(names.values())) < len(set(runs.values())):
        top = os.path.commonpath([folder.parent for folder in paths.values()])
        return {path: os.path.relpath(run, top) for path, run in runs.items()}
    return names


def _read(path: Path, metric: Optional[str]) -> Iterable[Tuple[str, str, Points, float]]:
    scalars = read_scalars(path)
    training = [entry for entry in scalars if 'loss' in entry]
    known = _metrics(scalars)
    chosen = metric or next((name for name in (*USUAL, *known) if name in known), None)
    if chosen not in known:
        return
    unit = 'epoch' if any('epoch' in entry for entry in training) else 'iteration'
    points = curve(scalars, chosen)
    yield chosen, unit, points, seconds_per_step(training) if training else float('nan')


def _metrics(scalars: List[dict]) -> List[str]:
    return [key for entry in scalars if 'loss' not in entry for key, value in entry.items()
            if key not in NOT_METRICS and not key.startswith(CLOSENESS)
            and isinstance(value, (int, float))]
