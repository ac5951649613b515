"""What fails on the first rank fails on all of them; none is left waiting."""
import multiprocessing

import pytest
import torch

from mmdistill_ext.checkpoints.first_rank import on_first_rank
from mmdistill_ext.errors import ConfigError


def _rank(rank: int, file: str, kind: str, answers) -> None:
    torch.distributed.init_process_group('gloo', init_method=f'file://{file}', rank=rank,
                                         world_size=2)
    calls = []

    def work():
        calls.append(rank)
        if kind != 'none':
            raise dict(key=KeyError, config=ConfigError)[kind]('gone')
        return {'path': 'a.pth'}

    try:
        answers.put((rank, calls, on_first_rank(work)))
    except Exception as error:
        answers.put((rank, calls, f'{type(error).__name__}: {error}'))
    torch.distributed.destroy_process_group()


@pytest.mark.train
@pytest.mark.parametrize('kind, first, second', [
    ('none', {'path': 'a.pth'}, {'path': 'a.pth'}),
    ('key', "KeyError: 'gone'", "ConfigError: 'gone'"),
    ('config', 'ConfigError: gone', 'ConfigError: gone')])
def test_all_ranks_get_what_the_first_gets(tmp_path, kind, first, second):
    context = multiprocessing.get_context('fork')
    answers = context.Queue()
    ranks = [context.Process(target=_rank, args=(rank, str(tmp_path / 'store'), kind, answers))
             for rank in (0, 1)]
    for rank in ranks:
        rank.start()
    found = sorted(answers.get(timeout=60) for _ in ranks)
    for rank in ranks:
        rank.join(60)
    assert found == [(0, [0], first), (1, [], second)]


def test_without_ranks_it_is_a_call():
    assert on_first_rank(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        on_first_rank(lambda: 1 / 0)
