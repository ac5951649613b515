"""Running statistics of BatchNorm layers, kept separately for each path through a network."""
from contextlib import contextmanager
from functools import partial
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...errors import ConfigError
from ..utils.found_modules import every_module

BUFFERS = ('running_mean', 'running_var', 'num_batches_tracked')


class PathStats(nn.Module):
    """What BatchNorm layers accumulate when they are fed through a path that is not the pure one.

    A layer's own buffers belong to the pure path. ``with stats.on('s2t_1'):`` puts the buffers of
    that path in their place and takes them out again, also after an error, so nothing that runs
    inside can be seen in the layer afterwards. Affine parameters are shared by all paths. The
    buffers are ordinary ones of this module: they are saved in checkpoints, and move with it.

    A layer that is in evaluation mode during training (frozen stages, ``norm_eval``) uses its own
    statistics on every path, and goes on to do so in evaluation.

    Other layers may not move a buffer in training: there is nothing that would keep what they move
    on a path apart. The first run of each path is checked.

    Args:
        paths (dict[str, tuple[nn.Module, Sequence[str]]]): For each path the model whose layers
            it runs through and the names of its modules. Those count that are BatchNorm layers
            with running statistics.

    Raises:
        ConfigError: In :meth:`on`, if another layer moved one of its buffers.
    """

    def __init__(self, paths: Dict[str, Tuple[nn.Module, Sequence[str]]]) -> None:
        super().__init__()
        self._runs_through = {path: (model, list(names)) for path, (model, names) in paths.items()}
        self._unchecked = set(paths)
        self._finders = {path: partial(self._find, path) for path in paths}
        for path, (model, names) in paths.items():
            layers = {name: model.get_submodule(name) for name in names}
            self.add_module(path, nn.ModuleDict({
                name.replace('.', '/'): _Stats(layer) for name, layer in layers.items()
                if isinstance(layer, _BatchNorm) and layer.running_mean is not None}))

    def layers(self, path: str) -> List[Tuple[nn.Module, '_Stats']]:
        """The BatchNorm layers of ``path``, and what is kept for each."""
        return every_module(self._runs_through[path][0]).kept(self._finders[path])

    def _find(self, path: str, _: Any) -> List[Tuple[nn.Module, '_Stats']]:
        model = self._runs_through[path][0]
        return [(model.get_submodule(name.replace('/', '.')), stats)
                for name, stats in getattr(self, path).items()]

    @contextmanager
    def on(self, path: str) -> Iterator[None]:
        """Let the layers of ``path`` use the statistics of ``path``."""
        swapped = [(layer, stats) for layer, stats in self.layers(path)
                   if layer.training or (not self.training and stats.used)]
        try:
            _swap(swapped)
            with counted_at_once([layer for layer, _ in swapped]), self._others_keep_still(path):
                yield
        finally:
            _swap(swapped)

    @contextmanager
    def _others_keep_still(self, path: str) -> Iterator[None]:
        """Raise if a layer other than BatchNorm moves a buffer; only once, for it takes time."""
        if not self.training or path not in self._unchecked:
            yield
            return
        self._unchecked.remove(path)
        model, names = self._runs_through[path]
        layers = {name: model.get_submodule(name) for name in names}
        before = [(name, layer, key, buffer, buffer._version, buffer.clone())
                  for name, layer in layers.items() if not isinstance(layer, _BatchNorm)
                  for key, buffer in layer._buffers.items() if buffer is not None]
        yield
        for name, layer, key, buffer, version, value in before:
            now = layer._buffers.get(key)
            if now is buffer and buffer._version == version:
                continue  # without comparing, which would wait for a GPU
            if now is None or not torch.equal(now, value):
                owner = type(model.get_submodule(name.split('.')[0])).__name__
                raise ConfigError(
                    f'FCFD, path {path}: {name!r} of the {owner} moves its buffer {key!r} in '
                    'training, and would move it on this path too; expected a network in which '
                    'BatchNorm alone moves buffers')


class _Stats(nn.Module):
    """The buffers of one layer on one path, at first those of a new layer."""

    def __init__(self, layer: _BatchNorm) -> None:
        super().__init__()
        self.register_buffer('running_mean', layer.running_mean.new_zeros(layer.num_features))
        self.register_buffer('running_var', layer.running_var.new_ones(layer.num_features))
        self.register_buffer('num_batches_tracked', layer.num_batches_tracked.new_zeros(()))

    @property
    def used(self) -> bool:
        """Whether the path has ever been run in training."""
        return bool(self.num_batches_tracked > 0)


def norms_of(modules: Sequence[Tuple[str, nn.Module]]) -> List[nn.Module]:
    """The BatchNorm layers among named modules."""
    return [module for _, module in modules if isinstance(module, _BatchNorm)]


@contextmanager
def counted_at_once(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Add the batch to what BatchNorm layers count with one operator, and not with one a layer.

    Args:
        layers (Sequence[nn.Module]): Each runs once inside. Those count as always that need the
            number: SyncBN, and where the statistics are the mean over all batches
            (``momentum=None``).
    """
    counted = [layer for layer in layers if layer.training and layer.momentum is not None
               and type(layer).forward is _BatchNorm.forward
               and layer._buffers['num_batches_tracked'] is not None]
    numbers = [layer._buffers['num_batches_tracked'] for layer in counted]
    for layer in counted:
        layer._buffers['num_batches_tracked'] = None
    try:
        yield
    finally:
        for layer, number in zip(counted, numbers):
            layer._buffers['num_batches_tracked'] = number
        if numbers:
            torch._foreach_add_(numbers, 1)


def _swap(layers: Sequence[Tuple[nn.Module, _Stats]]) -> None:
    for layer, stats in layers:
        own, other = layer._buffers, stats._buffers
        for name in BUFFERS:
            own[name], other[name] = other[name], own[name]
