"""A set is there as a whole or not at all, and the same arguments give the same bytes."""
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mmdistill_ext.datasets import SceneSettings, make, make_data
from mmdistill_ext.errors import ConfigError

SMALL = SceneSettings(train=6, val=4, tune=2)
TOOL = Path(__file__).parents[2] / 'tools' / 'make_data.py'


def hashes(root):
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob('*')) if path.is_file()}


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.endswith('.part')]


def test_same_settings_same_bytes(tmp_path):
    assert make_data(tmp_path / 'a', SMALL, progress=False)
    assert make_data(tmp_path / 'b', SMALL, progress=False)
    first = hashes(tmp_path / 'a')
    assert first == hashes(tmp_path / 'b')
    assert len(first) > 3 * 12
    make_data(tmp_path / 'c', SceneSettings(train=6, val=4, tune=2, seed=1), progress=False)
    other = hashes(tmp_path / 'c')
    assert not {name for name in other if other[name] == first.get(name)}


def test_a_whole_set_is_not_written_again(tmp_path):
    make_data(tmp_path / 'a', SMALL, progress=False)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'a').rglob('*')}
    assert not make_data(tmp_path / 'a', SMALL, progress=False)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / 'a').rglob('*')}


def test_other_settings_are_refused_unless_told(tmp_path):
    make_data(tmp_path / 'a', SMALL, progress=False)
    harder = SceneSettings(train=6, val=4, tune=2, noise=30.)
    with pytest.raises(ConfigError, match=r'a: made with noise 12.0, not 30.0; .*--overwrite'):
        make_data(tmp_path / 'a', harder, progress=False)
    assert make_data(tmp_path / 'a', harder, overwrite=True, progress=False)
    make_data(tmp_path / 'b', harder, progress=False)
    assert hashes(tmp_path / 'a') == hashes(tmp_path / 'b')


def test_a_folder_with_something_else_in_it_is_kept(tmp_path):
    (tmp_path / 'thesis.txt').write_text('years of work')
    with pytest.raises(ConfigError, match='not a data set'):
        make_data(tmp_path, SMALL, overwrite=True, progress=False)
    assert (tmp_path / 'thesis.txt').read_text() == 'years of work'


def test_an_error_midway_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def draw(*args):
        calls.append(args)
        if len(calls) == 8:
            raise OSError('No space left on device')
        return make_draw(*args)

    make_draw = make.draw_scene
    monkeypatch.setattr(make, 'draw_scene', draw)
    with pytest.raises(OSError, match='No space'):
        make_data(tmp_path / 'a', SMALL, progress=False)
    assert not (tmp_path / 'a').exists() and not leftovers(tmp_path)
    assert make_data(tmp_path / 'a', SMALL, progress=False)


def test_one_of_several_processes_writes(tmp_path):
    written = []
    threads = [threading.Thread(
        target=lambda: written.append(make_data(tmp_path / 'a', SMALL, progress=False)))
        for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(written) == [False, False, True]


@pytest.mark.train
def test_killed_midway_and_run_again(tmp_path):
    command = [sys.executable, str(TOOL), '--out', str(tmp_path / 'a'), '--val', '4',
               '--tune', '2', '--train']
    running = subprocess.Popen([*command, '100000'], stderr=subprocess.DEVNULL)
    part = tmp_path / '.a.part' / 'coco' / 'train'
    while not (part.is_dir() and len(os.listdir(part)) > 20):
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (tmp_path / 'a').exists()

    subprocess.run([*command, '6'], check=True)
    assert not leftovers(tmp_path)
    make_data(tmp_path / 'b', SMALL, progress=False)
    assert hashes(tmp_path / 'a') == hashes(tmp_path / 'b')


@pytest.mark.train
def test_the_tool_says_what_is_wrong_in_one_line(tmp_path):
    (tmp_path / 'thesis.txt').write_text('years of work')
    run = subprocess.run([sys.executable, str(TOOL), '--out', str(tmp_path)],
                         capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr.strip().splitlines() == [
        f'ERROR: {tmp_path}: not empty and not a data set made by tools/make_data.py; '
        'give another folder with --out']
