"""What a training step costs: time side by side, multiply-adds, bytes kept for backward."""
import time
from typing import Callable, Dict, List

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode


def synchronize() -> None:
    """Wait for the accelerator, where there is one in use."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def interleaved_times(steps: Dict[str, Callable[[], object]], rounds: int,
                      warm_up: int = 1) -> Dict[str, List[float]]:
    """Seconds of each step in rounds A B C A B C, so that a slow minute hits all alike.

    Args:
        steps (dict[str, Callable]): What to time.
        rounds (int): How often each is timed.
        warm_up (int): Rounds before that. Defaults to 1.
    """
    times: Dict[str, List[float]] = {name: [] for name in steps}
    for round_ in range(-warm_up, rounds):
        for name, step in steps.items():
            synchronize()
            start = time.perf_counter()
            step()
            synchronize()
            if round_ >= 0:
                times[name].append(time.perf_counter() - start)
    return times


def flops_of(step: Callable[[], object]) -> int:
    """Floating point operations of matrix products and convolutions, forward and backward.

    Counted by torch: a multiply-add is two.
    """
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def saved_bytes(forward: Callable[[], object], model: nn.Module) -> int:
    """Bytes that autograd keeps for backward, each storage once, the model's own left out.

    Args:
        forward (Callable): Computes the losses; what it returns is kept until the count is done.
        model (nn.Module): Its parameters and buffers exist anyway and do not count.
    """
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    storages = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage  # held, so that no address is used twice
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = forward()
    total = sum(storage.nbytes() for storage in storages.values())
    del kept
    return total
