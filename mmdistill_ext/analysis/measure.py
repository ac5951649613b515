"""What a training step costs: time side by side, multiply-adds, bytes kept for backward."""
import gc
import time
from math import prod
from typing import Callable, Dict, List, Sequence, Tuple
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

__all__ = [
    'flops_of', 'interleaved_times', 'matmul_speed', 'peak_bytes', 'saved_bytes', 'seconds_of'
]


def seconds_of(step: Callable[[], object]) -> float:
    """Wall seconds of a step; where a GPU is in use, by its own events."""
    if not torch.cuda.is_initialized():
        start = time.perf_counter()
        step()
        return time.perf_counter() - start
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    step()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3


def interleaved_times(steps: Dict[str, Callable[[], object]], rounds: int, warm_up: int = 1,
                      before: Callable[[str, int], object] = lambda name, round_: None,
                      ) -> Dict[str, List[float]]:
    """Seconds of each step in rounds A B C A B C, so that a slow minute affects all alike.

    Args:
        steps (dict[str, Callable]): What to time.
        rounds (int): How often each is timed.
        warm_up (int): Rounds before that. Defaults to 1.
        before (Callable): Called with the name and the round before each step, untimed.
    """
    times: Dict[str, List[float]] = {name: [] for name in steps}
    for round_ in range(-warm_up, rounds):
        for name, step in steps.items():
            before(name, round_)
            seconds = seconds_of(step)
            if round_ >= 0:
                times[name].append(seconds)
    return times


def matmul_speed(dtype: torch.dtype, device: str) -> float:
    """GFLOP/s of a square matrix product, the fastest of five: what the processor can do.

    On a GPU in the precision that convolutions have, TF32 by default.
    """
    size = 2048 if device == 'cpu' else 8192
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        torch.mm(a, b)
        return 2 * size**3 / 1e9 / min(seconds_of(lambda: torch.mm(a, b)) for _ in range(5))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def flop_counter() -> FlopCounterMode:
    """Torch's counter; for the weights of a convolution in groups that counts too many."""
    return FlopCounterMode(display=False, custom_mapping={
        torch.ops.aten.convolution_backward: _convolution_backward})


def _convolution_backward(grad, x, weight, _bias, _stride, _padding, _dilation, transposed,
                          _output_padding, _groups, wanted, **_) -> int:
    """What the forward takes, for the gradient of the input and for that of the weight."""
    outputs = prod(x if transposed else grad)
    return 2 * outputs * prod(weight[1:]) * sum(wanted[:2])


def flops_of(step: Callable[[], object]) -> int:
    """Floating point operations of matrix products and convolutions, forward and backward.

    Counted by torch: a multiply-add is two.
    """
    with flop_counter() as counter:
        step()
    return counter.get_total_flops()


class _Saved:
    """A saved tensor; autograd drops it with the part of the graph that it was saved for."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def saved_bytes(forward: Callable[[], object], model: nn.Module,
                given: Sequence[Tensor] = (), with_backward: bool = False) -> int:
    """Bytes that autograd keeps for backward, each storage once, the model's own left out.

    Args:
        forward (Callable): Computes the losses; what it returns is kept until the count is done.
        model (nn.Module): Its parameters and buffers exist anyway and do not count.
        given (Sequence[Tensor]): What else exists anyway.
        with_backward (bool): Whether ``forward`` goes back too, after which nothing is kept: all
            that was saved on the way counts. Defaults to False.
    """
    kept: WeakSet = WeakSet()
    all_saved = []

    def pack(tensor):
        # With its graph, an operator's own output would keep the operator, for ever.
        kept.add(saved := _Saved(tensor.detach()))
        if with_backward:
            all_saved.append(saved)
        return saved

    with saved_tensors_hooks(pack, lambda saved: saved.tensor):
        result = forward()
    own = {t.untyped_storage().data_ptr()  # now: the first step lays the teacher out anew
           for t in [*model.parameters(), *model.buffers(), *given]}
    storages = (saved.tensor.untyped_storage() for saved in kept)
    total = sum({storage.data_ptr(): storage.nbytes() for storage in storages
                 if storage.data_ptr() not in own}.values())
    del result
    return total


def profiled(step: Callable[[], object]) -> Tuple[Dict[str, float], float]:
    """Operator -> its seconds in a step as torch's profiler sees it, and those of all GPU kernels.

    On a GPU an operator's seconds are its kernels'.
    """
    cuda = torch.cuda.is_initialized()
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    with profile(activities=activities) as profiler:
        step()
    operators, kernels = {}, 0.
    for event in profiler.key_averages():
        seconds = (event.self_device_time_total if cuda else event.self_cpu_time_total) / 1e6
        if event.device_type == DeviceType.CPU:
            operators[event.key] = seconds
        else:
            kernels += seconds  # the same work once more
    return operators, kernels


def shares(operators: Dict[str, float], most: int = 6) -> Dict[str, float]:
    """Operator -> its share of a step's time, the largest first."""
    total = sum(operators.values())
    dearest = sorted(operators, key=operators.__getitem__, reverse=True)[:most]
    return {name: operators[name] / total for name in dearest}


def peak_bytes(step: Callable[[], object]) -> int:
    """GPU memory that a step needs beyond what is allocated before and after it."""
    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    return torch.cuda.max_memory_allocated() - before
