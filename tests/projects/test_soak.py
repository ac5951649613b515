"""What the soak calls a leak."""
import pytest
import torch

from projects.demo.soak import Failed, Run, judge, same

MIB = 2**20


def seen(memory, files):
    return Run(0, 60., 60, [int(value * MIB) for value in memory], files)


def test_a_steady_run_passes():
    warming = [100 + 10 * i for i in range(60)]
    run = seen(warming + [700, 704, 708] * 30, [9] * 60 + [20, 21, 20] * 30)
    assert judge(run) == 'memory 704 MiB (+0.0%), 20 files'
    assert judge(seen([700] * 74, [20] * 74)) == 'too short to tell growth'


def test_leaks_fail():
    with pytest.raises(Failed, match='memory grew by 8.9%, from 674 to 734 MiB'):
        judge(seen([600 + i for i in range(150)], [20] * 150))
    with pytest.raises(Failed, match='open files grew from 24 to 26'):
        judge(seen([700] * 150, [20 + i // 20 for i in range(150)]))


def test_equal_is_bit_by_bit():
    one = dict(a=[torch.ones(2), dict(step=3)], b='sgd')
    assert same(one, dict(a=[torch.ones(2), dict(step=3)], b='sgd'))
    assert not same(one, dict(a=[torch.ones(2), dict(step=4)], b='sgd'))
    assert not same(one, dict(a=[torch.tensor([1., 1 + 1e-7]), dict(step=3)], b='sgd'))
    assert not same(one, dict(a=[torch.ones(2)], b='sgd'))
