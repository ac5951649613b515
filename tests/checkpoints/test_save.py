"""Which checkpoint ``--resume`` takes, and what is left when one cannot be written."""
import errno
import logging
import os
import re
import shutil
import time

import pytest
import torch
from mmengine.fileio import get_file_backend

from mmdistill_ext.checkpoints import save as safe_save
from mmdistill_ext.checkpoints.save import find_newest_whole
from mmdistill_ext.errors import ConfigError
from tests.tools.toy import tool, write


def saved(folder, name, at=None, **fields):
    """A checkpoint with what mmengine puts into one; ``at`` is when, and which iteration."""
    at = int(re.findall(r'\d+', name)[-1]) if at is None else at
    checkpoint = dict(dict(
        meta=dict(time=f'20260101_00000{at}', iter=at), state_dict=dict(w=torch.randn(4000)),
        message_hub=dict(), optimizer=dict()), **fields)
    path = folder / name
    torch.save({key: value for key, value in checkpoint.items() if value is not None}, path)
    return path


def spoil(path, how):
    data = bytearray(path.read_bytes())
    if how == 'cut':
        del data[len(data) // 2:]
    elif how == 'empty':
        data.clear()
    elif how == 'a bit':
        data[len(data) // 2] ^= 1
    elif how == 'zeros':
        data[len(data) // 2:] = bytes(len(data) - len(data) // 2)
    elif how == 'gone':
        return path.unlink()
    path.write_bytes(data)


@pytest.fixture
def resumed(monkeypatch):
    """What is resumed from in a folder, and the warnings; the log of a run is looked at below."""

    def find(folder):
        warnings = []
        monkeypatch.setattr(safe_save, 'print_log', lambda line, _, level=logging.INFO: (
            warnings.append(line) if level == logging.WARNING else None))
        return find_newest_whole(str(folder)), warnings

    return find


def name(folder, path):
    (folder / 'last_checkpoint').write_text(str(path))


def test_the_named_one_where_it_is_whole(tmp_path, resumed):
    """Also where others are newer: left behind by an earlier run, or not named yet."""
    for epoch in (1, 2, 3):
        saved(tmp_path, f'epoch_{epoch}.pth')
    name(tmp_path, tmp_path / 'epoch_2.pth')
    assert resumed(tmp_path) == (str(tmp_path / 'epoch_2.pth'), [])
    name(tmp_path, 's3://bucket/epoch_9.pth')  # not ours to open
    assert resumed(tmp_path) == ('s3://bucket/epoch_9.pth', [])


@pytest.mark.parametrize('how, why', [
    ('cut', 'is cut short'), ('empty', 'is cut short'), ('zeros', 'is cut short'),
    ('a bit', 'is damaged'), ('gone', 'is not there')])
def test_else_the_newest_whole_one(tmp_path, resumed, how, why):
    for epoch in (1, 2, 9, 10, 11, 12):
        saved(tmp_path, f'epoch_{epoch}.pth', at=min(epoch, 9))
    saved(tmp_path, 'epoch_10.pth', at=3)  # an earlier run's
    saved(tmp_path, 'best_acc_epoch_8.pth', at=8, optimizer=None)
    saved(tmp_path, 'epoch_8-1a2b3c4d.pth', at=8, message_hub=None)
    (tmp_path / 'teacher.pth').write_text('what else lies about')
    for epoch in (11, 12):
        spoil(tmp_path / f'epoch_{epoch}.pth', how)
    name(tmp_path, tmp_path / 'epoch_12.pth')
    path, lines = resumed(tmp_path)
    assert path == str(tmp_path / 'epoch_9.pth')
    line, = lines
    assert f'epoch_12.pth, which {why}: resuming from {path}' in line and '\n' not in line


def test_a_folder_that_was_moved(tmp_path, resumed):
    (tmp_path / 'old').mkdir()
    name(tmp_path / 'old', saved(tmp_path / 'old', 'iter_5.pth'))
    shutil.move(tmp_path / 'old', tmp_path / 'new')
    path, lines = resumed(tmp_path / 'new')
    assert path == str(tmp_path / 'new/iter_5.pth') and len(lines) == 1


def test_nothing_to_resume(tmp_path, resumed):
    """A first start with --resume, as of a job that may be requeued, is a start."""
    assert resumed(tmp_path) == (None, [])
    saved(tmp_path, 'teacher.pth', at=1, optimizer=None)
    assert resumed(tmp_path) == (None, [])
    spoil(saved(tmp_path, 'epoch_1.pth'), 'cut')
    assert resumed(tmp_path) == (None, [])


def test_killed_between_the_first_checkpoint_and_its_naming(tmp_path, resumed):
    saved(tmp_path, 'epoch_1.pth')
    assert resumed(tmp_path) == (str(tmp_path / 'epoch_1.pth'), [])
    (tmp_path / 'last_checkpoint').touch()
    path, lines = resumed(tmp_path)
    assert path == str(tmp_path / 'epoch_1.pth') and 'last_checkpoint names none' in lines[0]


def test_none_is_whole(tmp_path):
    for epoch in (1, 2):
        spoil(saved(tmp_path, f'epoch_{epoch}.pth'), 'cut')
    name(tmp_path, tmp_path / 'epoch_2.pth')
    with pytest.raises(ConfigError, match='epoch_2.pth, which is cut short, and no other') as error:
        find_newest_whole(str(tmp_path))
    assert '\n' not in str(error.value)


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / 'sub/epoch_1.pth'
    backend = get_file_backend(str(path), backend_args=dict(backend=safe_save.BACKEND))
    backend.put(b'old', str(path))

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(ConfigError, match='No space left on device.*make room'):
        backend.put(b'new', path)
    assert path.read_bytes() == b'old' and list(path.parent.iterdir()) == [path]
    monkeypatch.undo()
    backend.put(b'new', path)
    assert path.read_bytes() == b'new' and list(path.parent.iterdir()) == [path]


@pytest.mark.train
def test_train_py_says_so(tmp_path):
    """The real command, from a folder whose last checkpoint, then whose only others, were cut."""
    write(tmp_path)
    options = ('toy.py', '--resume', '--cfg-options', 'train_cfg.max_epochs=3')
    assert tool('train.py', 'toy.py', cwd=tmp_path).returncode == 0
    folder = tmp_path / 'work_dirs/toy'
    spoil(folder / 'epoch_2.pth', 'cut')
    time.sleep(1)  # logs are in folders named by the second
    done = tool('train.py', *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r'epoch_2.pth, which is cut short: resuming from \S+epoch_1.pth', done.stdout)
    assert 'resumed epoch: 1, ' in done.stdout and (folder / 'epoch_3.pth').exists()
    for path in folder.glob('*.pth'):
        spoil(path, 'cut')
    done = tool('train.py', *options, cwd=tmp_path)
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    assert 'ERROR: --resume: ' in done.stderr and 'no other checkpoint there is ' in done.stderr
