"""What each of two ranks does with every algorithm, for processes that the tests start."""
import copy

import torch
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.model import MMDistributedDataParallel, convert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmrazor.registry import MODELS
from mmrazor.utils import register_all_modules
from torch.nn.modules.batchnorm import _BatchNorm

from tests.models.fcfd.heads import livelier
from tests.small import batch

from .algorithms import ALGORITHMS

STEPS = 3


def ready(name, norm_eval=False):
    """The algorithm with weights that are the same everywhere, and no BatchNorm left if asked."""
    torch.manual_seed(0)
    config = ConfigDict(copy.deepcopy(ALGORITHMS[name][1]), _scope_='mmrazor')
    model = livelier(MODELS.build(config)).train()
    if norm_eval:
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
    return model


def part(name, rank=0, world=1, images=4, size=None):
    """A rank's share of one batch."""
    task = ALGORITHMS[name][0]
    data = batch(task, images, size or (32 if task == 'cls' else 64))
    share = slice(rank * images // world, (rank + 1) * images // world)
    return {key: value[share] for key, value in copy.deepcopy(data).items()}


def optimizer(model, **fields):
    return OptimWrapper(torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], .01, momentum=.9), **fields)


def trained(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def assert_moved_alike(found, expected, before):
    """Each weight went where it goes in the other run, but for rounding.

    Not element by element: where one is close to zero, rounding is all that it is made of.
    """
    assert found.keys() == expected.keys() == before.keys()
    for key, value in expected.items():
        error, way = (found[key] - value).norm(), (value - before[key]).norm()
        assert error <= 1e-3 * way + 1e-7 * value.norm(), f'{key}: {error / way} of its way'


def tell(step, seed=7):
    """What a runner would: FCFD's paths depend on it."""
    hub = MessageHub.get_instance('ranks')
    hub.update_info('seed', seed), hub.update_info('iter', step)


def rank_run(rank, store, folder):
    """All algorithms, with and without BatchNorm; what they gave goes into a file."""
    torch.set_num_threads(1)
    register_all_modules(init_default_scope=False)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{store}', rank=rank, world_size=2)
    results = {}
    for name in ALGORITHMS:
        for norm_eval in (False, True):
            model = ready(name, norm_eval)
            # Not every path is drawn in every step, so not every weight gets a gradient.
            ddp = MMDistributedDataParallel(
                model, find_unused_parameters=True, broadcast_buffers=False)
            optim, steps = optimizer(model), []
            for step in range(STEPS):
                tell(step, seed=7 + rank)  # as with diff_rank_seed=True
                losses = ddp.train_step(part(name, rank, 2), optim)
                steps.append((trained(model), sorted(losses)))
            results[name, norm_eval] = steps
    results['sync_bn'] = error_of_sync_bn(rank)
    torch.save(results, f'{folder}/{rank}')
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def error_of_sync_bn(rank):
    model = convert_sync_batchnorm(ready('mlp cls'))
    try:
        model.train_step(part('mlp cls', rank, 2), optimizer(model))
    except ValueError as error:
        return str(error)
