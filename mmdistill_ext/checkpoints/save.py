"""Checkpoints that a kill or a full disk cannot spoil, and ``--resume`` from one that is whole.

mmengine writes a checkpoint straight under its final name, after it has removed the one that
``max_keep_ckpts`` keeps no longer. Stopped in between, it leaves a piece that looks like a
checkpoint, and with ``max_keep_ckpts=1`` nothing else. Here a file gets its name when all of it is
on the disk, the old one goes last, and what is resumed from is looked at first.
"""
import copy
import functools
import logging
import os
import zipfile
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Tuple, Union

import mmengine.runner
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log

from ..errors import ConfigError
from . import load as safe_load

NEEDED = ('meta', 'state_dict', 'message_hub', 'optimizer')  # to go on as if nothing had been


class WholeFiles(LocalBackend):
    """Local files that are there with all they hold, or not at all."""

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """Write bytes.

        Raises:
            ConfigError: The disk is full, or the like; what was there before is still there.
        """
        part = Path(f'{filepath}.part')  # the next attempt writes over it
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(part, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, filepath)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise ConfigError(f'{filepath} cannot be written ({error.strerror}); what was saved '
                              'before is untouched: make room, then go on with --resume'
                              ) from error


def remove_last(save: Callable) -> Callable:
    """Let a method of ``CheckpointHook`` remove old checkpoints after the new one is written."""

    @functools.wraps(save)
    def saving(hook: CheckpointHook, *args: Any, **kwargs: Any) -> None:
        backend, removals = hook.file_backend, []  # type: ignore[has-type, var-annotated]
        hook.file_backend = copy.copy(backend)
        for name in ('remove', 'rmtree'):
            later = functools.partial(lambda method, path: removals.append((method, path)),
                                      getattr(backend, name))
            setattr(hook.file_backend, name, later)
        try:
            save(hook, *args, **kwargs)
        finally:
            hook.file_backend = backend
        for method, path in removals:
            method(path)

    return saving


def fault(path: Union[str, Path]) -> str:
    """What is wrong with a checkpoint; '' if every byte is as it was written."""
    if not os.path.isfile(path):
        return 'is not there'
    try:
        with zipfile.ZipFile(path) as file:
            return 'is damaged' if file.testzip() else ''
    except (zipfile.BadZipFile, OSError):
        return 'is cut short'


def find_latest_checkpoint(path: str) -> Optional[str]:
    """mmengine's function of this name, which hands out whatever ``last_checkpoint`` names.

    Where that file is not whole, it is the newest one beside it that is; one line of the log says
    so. All ranks get what the first one finds.

    Args:
        path (str): The work_dir.

    Raises:
        ConfigError: Something was saved, and none of it is whole.
    """
    found: List[Any] = [None, None]
    if is_main_process():
        try:
            found[0] = _newest(path)
        except ConfigError as error:
            found[1] = str(error)
    broadcast_object_list(found)
    if found[1]:
        raise ConfigError(found[1])
    return found[0]


def _newest(work_dir: str) -> Optional[str]:
    mark = Path(work_dir, 'last_checkpoint')
    named = mark.read_text().strip() if mark.is_file() else ''
    wrong = fault(named) if named else 'names none'
    if not wrong or '://' in named:
        return named
    if named:
        wrong = f'names {named}, which {wrong}'
    folders = dict.fromkeys([Path(work_dir), Path(named).parent])
    files = [file for folder in folders for file in folder.glob('*.pth')]
    for _, other in sorted(_resumable(files), reverse=True):
        if not fault(other):
            if mark.is_file():
                print_log(f'{mark} {wrong}: resuming from {other}, the newest that is whole',
                          'current', logging.WARNING)
            return other
    if mark.is_file():
        raise ConfigError(f'--resume: {mark} {wrong}, and no other checkpoint there is whole; put '
                          f'one back, or remove {work_dir} to begin anew')
    print_log('Did not find last_checkpoint to be resumed.', 'current')
    return None


def _resumable(files: List[Path]) -> Iterator[Tuple[Tuple[str, int], str]]:
    """When each checkpoint was saved, and where it is; best and published ones are not among."""
    for file in files:
        try:
            checkpoint = safe_load.read(str(file), 'cpu', mmap=True)  # no weights are read yet
        except (ConfigError, OSError):
            continue
        if isinstance(checkpoint, dict) and all(key in checkpoint for key in NEEDED):
            meta = checkpoint['meta']
            yield (meta['time'], meta['iter']), str(file)


def enable() -> None:
    """Have mmengine save and resume like this, from any ``train.py``."""
    register_backend('local', WholeFiles, force=True, prefixes='')
    for name in ('_save_checkpoint_with_step', '_save_best_checkpoint'):
        save = getattr(CheckpointHook, name)
        if not hasattr(save, '__wrapped__'):
            setattr(CheckpointHook, name, remove_last(save))
    for module in (mmengine.runner, mmengine.runner.checkpoint, mmengine.runner.runner):
        module.find_latest_checkpoint = find_latest_checkpoint
