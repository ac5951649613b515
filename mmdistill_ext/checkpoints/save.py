"""Checkpoints that a kill or a full disk cannot spoil, and ``--resume`` from one that is whole.

mmengine writes a checkpoint straight under its final name, after it has removed the one that
``max_keep_ckpts`` keeps no longer. Stopped in between, it leaves a piece that looks like a
checkpoint, and with ``max_keep_ckpts=1`` nothing else. Here a file gets its name when all of it is
on the disk, and what is resumed from is looked at first. ``WholeCheckpointHook`` uses both.
"""
import contextlib
import logging
import os
import zipfile
from pathlib import Path
from typing import IO, Iterator, List, Optional, Tuple, Union

from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import print_log

from ..errors import ConfigError
from .first_rank import on_first_rank
from .load import read

NEEDED = ('meta', 'state_dict', 'message_hub', 'optimizer')  # to go on as if nothing had been


@contextlib.contextmanager
def whole_file(path: Union[str, Path]) -> Iterator[IO[bytes]]:
    """Open a file to write that gets its name when all of it is on the disk.

    Raises:
        OSError: It cannot be written; what was there before is still there.
    """
    part = Path(f'{path}.part')  # the next attempt writes over it
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(part, 'wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class WholeFiles(LocalBackend):
    """Local files that are there with all they hold, or not at all."""

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """Write bytes.

        Raises:
            ConfigError: The disk is full, or the like; what was there before is still there.
        """
        try:
            with whole_file(filepath) as file:
                file.write(obj)
        except OSError as error:
            raise ConfigError(f'{filepath} cannot be written ({error.strerror}); what was saved '
                              'before is untouched: make room, then go on with --resume'
                              ) from error


BACKEND = 'mmdistill_ext.whole_files'
register_backend(BACKEND, WholeFiles, force=True)  # a name of its own: no path leads to it


def fault(path: Union[str, Path]) -> str:
    """What is wrong with a checkpoint; '' if every byte is as it was written."""
    if not os.path.isfile(path):
        return 'is not there'
    try:
        with zipfile.ZipFile(path) as file:
            return 'is damaged' if file.testzip() else ''
    except (zipfile.BadZipFile, OSError):
        return 'is cut short'


def find_newest_whole(path: str) -> Optional[str]:
    """The checkpoint that ``last_checkpoint`` names, or the newest whole one if that is damaged.

    One line of the log says which and why. All ranks get what the first one finds.

    Args:
        path (str): The work_dir.

    Raises:
        ConfigError: Something was saved, and none of it is whole.
    """
    return on_first_rank(lambda: _newest(path))


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
            checkpoint = read(str(file), 'cpu', mmap=True)  # no weights are read yet
        except (ConfigError, OSError):
            continue
        if isinstance(checkpoint, dict) and all(key in checkpoint for key in NEEDED):
            meta = checkpoint['meta']
            yield (meta['time'], meta['iter']), str(file)
