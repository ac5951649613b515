"""FSDP's ``fully_shard`` before the optimizer is built, on two ranks, with the default settings."""
import multiprocessing

import pytest
import torch
from mmengine.model import MMDistributedDataParallel

from .two_ranks import optimizer, part, ready, tell, trained

fsdp = pytest.importorskip('torch.distributed.fsdp')
pytestmark = [pytest.mark.train, pytest.mark.skipif(
    not hasattr(fsdp, 'fully_shard'), reason='fully_shard came with PyTorch 2.6')]
STEPS = 2
# What is sharded. A frozen teacher alone leaves the student to DDP.
SHARDED = [('mlp cls', ('', )), ('mlp det', ('teacher', '')), ('mlp seg', ('teacher', )),
           ('tffd cls', ('', )), ('fcfd cls', ('', )), ('fcfd cls', ('teacher', )),
           ('fcfd retinanet', ('', )), ('fcfd seg', ('', ))]
REFUSED = {('fcfd cls', ('teacher', '')): 'FCFDDistill runs parts of both networks after',
           ('mlp cls', ('student', )): 'fully_shard was called on the student alone'}


def shard(model, places):
    mesh = torch.distributed.init_device_mesh('cpu', (2, ))
    for place in places:
        fsdp.fully_shard(getattr(model, place) if place else model, mesh=mesh)


def whole(weights):
    return {name: value.full_tensor() if hasattr(value, 'full_tensor') else value
            for name, value in weights.items()}


def compared(rank, name, places):
    """Losses and weights after each step, of DDP and with shards."""
    results = []
    for sharded in (False, True):
        model, steps = ready(name, norm_eval=True), []
        if sharded:
            shard(model, places)
        if not sharded or '' not in places:
            wrapper = MMDistributedDataParallel(  # which would broadcast the shards at its start
                model, find_unused_parameters=True, broadcast_buffers=False, init_sync=not sharded)
        else:
            wrapper = model
        optim = optimizer(model)
        for step in range(STEPS):
            tell(step)
            logs = wrapper.train_step(part(name, rank, 2), optim)
            steps.append((dict(logs), whole(trained(model))))
        results.append(steps)
    return results


def refusal(name, places):
    model = ready(name, norm_eval=True)
    shard(model, places)
    try:
        model.train_step(part(name, 0, 2), optimizer(model))
    except Exception as error:
        return f'{type(error).__name__}: {error}'


def rank_run(rank, store, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{store}', rank=rank, world_size=2)
    results = {case: compared(rank, *case) for case in SHARDED}
    results.update({case: refusal(*case) for case in REFUSED})
    torch.save(results, f'{folder}/{rank}')
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp('fsdp')
    fork = multiprocessing.get_context('forkserver')
    fork.set_forkserver_preload(['tests.reliability.test_fsdp', 'mmdistill_ext.cli.command'])
    processes = [fork.Process(target=rank_run, args=(rank, folder / 'store', folder))
                 for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
        assert process.exitcode == 0
    return [torch.load(folder / str(rank), weights_only=False) for rank in range(2)]


@pytest.mark.parametrize('case', SHARDED)
def test_shards_give_what_ddp_gives(ranks, case):
    start = trained(ready(case[0], norm_eval=True))
    for rank in ranks:
        for (logs, weights), (expected, theirs) in zip(*rank[case]):
            assert logs.keys() == expected.keys()
            assert weights.keys() == theirs.keys() == start.keys()
            for key, value in expected.items():
                torch.testing.assert_close(logs[key], value, rtol=1e-4, atol=1e-6, msg=key)
            for key, value in theirs.items():
                torch.testing.assert_close(weights[key], value, rtol=1e-4, atol=1e-5, msg=key)
        assert any(not torch.equal(start[key], value) for key, value in weights.items())


@pytest.mark.parametrize('case', REFUSED)
def test_what_cannot_be_right_is_refused_in_the_first_step(ranks, case):
    for rank in ranks:
        assert rank[case].startswith('ConfigError: ') and REFUSED[case] in rank[case]
        assert '\n' not in rank[case]
