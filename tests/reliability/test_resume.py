"""kill -9, again and again: what comes out in the end is what an unbroken run gives, bit by bit."""
import random
import re
import signal

import pytest
import torch

from mmdistill_ext.checkpoints import load as safe_load

from .resume_runs import INTERVAL, RUNS, start

pytestmark = pytest.mark.train


def assert_same(one, two, where=''):
    """Dicts, lists, tensors, histories and numbers; times differ."""
    assert type(one) is type(two), where
    if isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for key in one:
            if 'time' not in str(key) and key not in ('cfg', 'last_ckpt', 'experiment_name'):
                assert_same(one[key], two[key], f'{where} {key}')
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(two), where
        for number, (a, b) in enumerate(zip(one, two)):
            assert_same(a, b, f'{where} {number}')
    elif hasattr(one, '_log_history'):
        assert one._log_history.tolist() == two._log_history.tolist(), where
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, two), where
    else:
        assert one == two, where


def last(folder):
    return safe_load.read((folder / 'last_checkpoint').read_text())


def log_of(folder):
    return '\n'.join(path.read_text() for path in sorted(folder.glob('*/*.log')))


@pytest.mark.parametrize('name', RUNS)
def test_killed_ten_times_is_the_run_left_alone(tmp_path, name):
    assert start(name, tmp_path / 'whole') == 0
    chance = random.Random(name)
    kinds = ['step'] * 7 + ['writing', 'writing', 'naming']
    chance.shuffle(kinds)
    for kind in kinds:
        number = chance.randrange(INTERVAL - 1, 2 * INTERVAL)
        assert start(name, tmp_path / 'cut', kind, number) == -signal.SIGKILL
    assert start(name, tmp_path / 'cut') == 0
    whole, cut = last(tmp_path / 'whole'), last(tmp_path / 'cut')
    assert_same(whole, cut)
    resumed = [int(at) for at in re.findall(r'resumed epoch: .*iter: (\d+)',
                                            log_of(tmp_path / 'cut'))]
    assert len(set(resumed)) > 3 and resumed == sorted(resumed)
    weight, = (key for key in whole['message_hub']['log_scalars'] if 'loss_weight' in key)
    assert len(set(whole['message_hub']['log_scalars'][weight]._log_history.tolist())) > 9


def test_a_full_disk_loses_nothing(tmp_path):
    """The one checkpoint that is kept stays until there is room for the next."""
    assert start('fcfd cls', tmp_path / 'cut', 'step', INTERVAL + 1) == -signal.SIGKILL
    kept, = (tmp_path / 'cut').glob('*.pth')
    before = kept.read_bytes()
    assert start('fcfd cls', tmp_path / 'cut', None, 0, len(before) // 2) == 1
    assert [path.name for path in (tmp_path / 'cut').glob('*.pth*')] == [kept.name]
    assert kept.read_bytes() == before
    assert start('fcfd cls', tmp_path / 'cut') == 0
    assert start('fcfd cls', tmp_path / 'whole') == 0
    assert_same(last(tmp_path / 'whole'), last(tmp_path / 'cut'))
