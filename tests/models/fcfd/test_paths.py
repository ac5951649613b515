"""Which paths there are, and which an iteration draws."""
from collections import Counter

import pytest
from mmengine.logging import MessageHub

from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.fcfd.paths import PathSampler

ALL_OF_3 = ['s2t_1', 't2s_1', 's2t_2', 't2s_2']
FIRST_OF_SEED_7 = [['s2t_1', 't2s_2'], ['s2t_1', 't2s_1'], ['t2s_1', 's2t_2'], ['s2t_1', 's2t_2']]


def names(paths):
    return [path.name for path in paths]


@pytest.mark.parametrize('stages, options, expected', [
    (3, {}, ALL_OF_3),
    (4, {}, ALL_OF_3 + ['s2t_3', 't2s_3']),
    (4, dict(k_min=2), ['s2t_2', 't2s_2', 's2t_3', 't2s_3']),
    (4, dict(positions=[3, 1]), ['s2t_1', 't2s_1', 's2t_3', 't2s_3']),
    (4, dict(positions=(1, 3), k_min=2), ['s2t_3', 't2s_3']),
    (3, dict(directions='s2t'), ['s2t_1', 's2t_2']),
    (3, dict(directions=['t2s', 's2t']), ALL_OF_3),
    (2, {}, ['s2t_1', 't2s_1'])])
def test_candidates(stages, options, expected):
    assert names(PathSampler(stages, **options).candidates) == expected
    assert names(PathSampler(stages, 'all', **options).sample(0, 0)) == expected


def test_draws_depend_on_seed_and_iteration_alone():
    first, second = PathSampler(3), PathSampler(3)
    forward = [first.sample(7, i) for i in range(200)]
    assert forward == [second.sample(7, i) for i in reversed(range(200))][::-1]
    assert forward != [first.sample(8, i) for i in range(200)]
    # Always these, in whatever process: no hash of Python's that differs from run to run.
    assert [names(paths) for paths in forward[:4]] == FIRST_OF_SEED_7


def test_without_replacement_and_evenly():
    sampler = PathSampler(3, 2)
    drawn = [tuple(names(sampler.sample(0, i))) for i in range(6000)]
    assert all(len(set(pair)) == 2 for pair in drawn)
    assert all(list(pair) == [n for n in ALL_OF_3 if n in pair] for pair in drawn)
    counts = Counter(drawn)
    assert len(counts) == 6
    for count in counts.values():  # 1000 each, standard deviation 29
        assert abs(count - 1000) < 150


@pytest.mark.parametrize('num, samples', [(0, False), (1, True), (3, True), (4, False)])
def test_number(num, samples):
    sampler = PathSampler(3, num)
    assert sampler.samples == samples and len(sampler.sample(0, 3)) == num


@pytest.mark.parametrize('options, found, fits', [
    (dict(num=5), 'num is 5', "0 to 4 or 'all'"),
    (dict(num=3, directions='s2t'), 'num is 3', 'the paths are s2t_1, s2t_2'),
    (dict(num=-1), 'num is -1', '0 to 4'),
    (dict(num='two'), "num is 'two'", '0 to 4'),
    (dict(positions=[3]), 'position 3, which is the last stage', 'expected one of 1, 2'),
    (dict(positions=[0, 1]), 'position 0', 'expected one of 1, 2'),
    (dict(positions=[4]), 'position 4;', 'expected one of 1, 2'),
    (dict(k_min=3), 'position 3, which is the last stage', 'expected one of 1, 2'),
    (dict(directions=['st']), "direction 'st'", "'s2t', 't2s'")])
def test_mistakes(options, found, fits):
    with pytest.raises(ConfigError) as error:
        PathSampler(3, **options)
    assert found in str(error.value) and fits in str(error.value)


def test_a_loop_without_a_runner_counts_for_itself():
    MessageHub.get_instance('test_no_runner')
    sampler, other = PathSampler(3), PathSampler(3)
    drawn = [sampler.draw() for _ in range(20)]
    assert drawn == [other.sample(0, i) for i in range(20)]


def test_the_runners_iteration_and_seed_count():
    hub, sampler = MessageHub.get_instance('test_runner'), PathSampler(3)
    for seed, iteration in ((3, 5), (3, 9), (4, 9), (3, 5)):
        hub.update_info_dict(dict(seed=seed, iter=iteration))
        assert sampler.draw() == sampler.sample(seed, iteration)
