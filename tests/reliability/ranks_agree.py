"""A hook that stops a run whose ranks drift apart."""
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class RanksAgree(Hook):
    """After every step all ranks have the first one's weights, bit by bit."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        mine = torch.cat([weight.detach().flatten() for weight in runner.model.parameters()])
        first = mine.clone()
        torch.distributed.broadcast(first, 0)
        assert torch.equal(mine, first)
        runner.logger.info(f'ranks agree after step {runner.iter + 1}')
