"""Checkpoints are read without running what is in them, on every PyTorch.

From 2.6 on ``torch.load`` by default builds tensors and nothing else, which refuses mmengine's own
checkpoints; before, it builds and runs whatever a file asks for. Here both read exactly what
mmengine writes. ``teacher_ckpt``, export, test and the analysis read with it, and
:func:`look_through` checks with it what mmengine loads itself.
"""
import functools
import os
import pickle
import re
import zipfile
from types import SimpleNamespace
from typing import Any, Dict, Sequence
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.utils import digit_version

from ..errors import ConfigError
from .first_rank import on_first_rank

_SAFE_BY_DEFAULT = digit_version(torch.__version__) >= digit_version('2.6.0')
_METHODS = {HistoryBuffer: ('min', 'max', 'current', 'mean'),
            OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear')}


def _method(owner: Any, name: str) -> Any:
    """What ``getattr`` in a checkpoint may ask for: mmengine stores some methods of its own."""
    if isinstance(owner, type) and name in _METHODS.get(owner, ()):
        return getattr(owner, name)
    raise pickle.UnpicklingError(f'Unsupported global: GLOBAL getattr({owner!r}, {name!r})')


def known_globals() -> Dict[str, Any]:
    """What mmengine's checkpoints hold beyond tensors, by the name it has in the file.

    numpy 1 and 2 name their parts differently; a file of one is read by the other.
    """
    reconstruct, scalar = np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    known: Dict[str, Any] = {
        'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
        'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler': OneCycleParamScheduler,
        'builtins.getattr': _method, 'numpy.ndarray': np.ndarray, 'numpy.dtype': np.dtype}
    for core in ('numpy.core', 'numpy._core'):
        known[f'{core}.multiarray._reconstruct'] = reconstruct
        known[f'{core}.multiarray.scalar'] = scalar
    for code in '?' + np.typecodes['AllInteger'] + 'efd':
        dtype = type(np.dtype(code))
        known[f'{dtype.__module__}.{dtype.__qualname__}'] = dtype
    return known


class _Unpickler(pickle.Unpickler):
    """For PyTorch before 2.6, whose own safe unpickler cannot be told of further classes."""

    also: Dict[str, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        full = f'{module}.{name}'.replace('__builtin__.', 'builtins.')
        known = {**_known_to_old_torch(), **self.also}
        if full not in known:
            raise pickle.UnpicklingError(f'Unsupported global: GLOBAL {full}')
        return known[full]


@functools.lru_cache
def _known_to_old_torch() -> Dict[str, Any]:
    import _codecs
    import collections

    from torch._weights_only_unpickler import _get_allowed_globals
    return {**_get_allowed_globals(), **known_globals(), '_codecs.encode': _codecs.encode,
            'collections.Counter': collections.Counter, 'builtins.set': set}


def read(filename: str, map_location: Any = None, mmap: bool = False,
         also: Sequence[type] = ()) -> Any:
    """``torch.load`` for files that nobody has to trust.

    Args:
        filename (str): A checkpoint on disk.
        map_location: As for ``torch.load``.
        mmap (bool): Read each tensor when it is first looked at. Defaults to False.
        also (Sequence[type]): Plain classes that the file may hold beside mmengine's.

    Raises:
        ConfigError: The file holds something that no checkpoint of mmengine's holds, or is cut
            short.
    """
    open(filename, 'rb').close()  # not there or not ours to read: that is said by the system
    try:
        if _SAFE_BY_DEFAULT:
            with torch.serialization.safe_globals(list(also)):
                return torch.load(filename, map_location=map_location, mmap=mmap, weights_only=True)
        reader = type('Reader', (_Unpickler, ), dict(
            also={f'{kind.__module__}.{kind.__qualname__}': kind for kind in also}))
        return torch.load(filename, map_location=map_location, mmap=mmap,
                          pickle_module=SimpleNamespace(
                              __name__=__name__, Unpickler=reader,
                              load=lambda file, **kwargs: reader(file, **kwargs).load()))
    except Exception as error:  # torch has no one error for files that are not its own
        found = re.search(r"Unsupported global: GLOBAL (.+?)(?: was not an allowed.*)?$"
                          r"|unsupported GLOBAL (\S+) whose module"
                          r"|Unsupported class (\S+)|but got <class '(\S+)'>", str(error), re.M)
        if found:
            name = next(group for group in found.groups() if group)
            raise ConfigError(
                f'{filename} holds {name}, which no checkpoint of mmengine holds, and was not '
                'loaded: that could run code of whoever wrote the file; save its weights alone '
                "(torch.save(model.state_dict(), ...)) where you trust it") from error
        if 'Attempting to deserialize' in str(error):
            raise  # map_location names a device that is not there
        raise ConfigError(f'{filename} is no checkpoint, or one that was cut short') from error


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Read a file with :func:`read`; a leading ``~`` is the home folder."""
    filename = os.path.expanduser(filename)
    if not os.path.isfile(filename):
        raise FileNotFoundError(f'{filename} can not be found.')
    return read(filename, map_location)


def fetch(url: str) -> str:
    """Download a file into the cache of ``torch.hub``, unless it is there; return its path."""
    folder = os.path.join(torch.hub.get_dir(), 'checkpoints')
    path = os.path.join(folder, os.path.basename(urlparse(url).path))
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, path)
        except OSError as error:
            raise ConfigError(f'{url} cannot be downloaded ({error}): fetch it where there is a '
                              f'network and put it at {path}, or name a file of yours') from error
    return path


def load(path: str, map_location: Any = 'cpu') -> Any:
    """Read a checkpoint from a path or an address with :func:`read`.

    Args:
        path (str): A file, or an address. http, https and file are read here, and the others that
            mmengine knows (``s3://``, ``torchvision://`` ...) as mmengine reads them.
        map_location: As for ``torch.load``.
    """
    scheme = urlparse(path).scheme if '://' in path else ''
    if not scheme:
        return load_from_local(path, map_location)
    if scheme not in ('http', 'https', 'file'):
        return CheckpointLoader.load_checkpoint(path, map_location, logger='silent')
    on_first_rank(lambda: fetch(path))
    return read(fetch(path), map_location)  # fetched: a node of its own has a cache of its own


def look_through(path: str) -> None:
    """Stop in one line if a checkpoint holds what could run, before mmengine loads it.

    An address is looked at on PyTorch before 2.6 only, whose ``torch.load`` runs what is in it.
    """
    if '://' not in path and os.path.isfile(path):
        read(path, 'cpu', mmap=zipfile.is_zipfile(path))
    elif path.startswith(('http://', 'https://')) and not _SAFE_BY_DEFAULT:
        read(fetch(path), 'cpu')
