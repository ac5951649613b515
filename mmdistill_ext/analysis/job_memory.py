"""Whether a step fits in memory, told from a step of two images."""
import os
import resource
from pathlib import Path
from typing import Any, Iterable, NamedTuple, Optional

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from ..errors import ConfigError

CGROUP = Path('/sys/fs/cgroup')  # of a container or a slurm job


class Needs(NamedTuple):
    """Bytes of one process.

    Args:
        weights (int): Parameters and buffers, the teacher's too.
        gradients (int): Of what is trained.
        optimizer (int): Its state.
        image (float): What autograd keeps for backward of one image, and the image itself.
    """
    weights: int
    gradients: int
    optimizer: int
    image: float

    def step(self, images: int) -> float:
        """What a step needs beside weights and the optimizer's state."""
        return self.gradients + images * self.image

    def text(self, images: int) -> str:
        """One line."""
        return (f'weights {size(self.weights)}, gradients {size(self.gradients)}, optimizer '
                f'{size(self.optimizer)}, images and what is saved of them for backward '
                f'{size(images * self.image)} ({size(self.image)} an image)')


def needs_of(model: nn.Module, optimizer: OptimWrapper, saved: float, batch: Any,
             images: int) -> Needs:
    """What a model has and needs, after a step.

    Args:
        model (nn.Module): The algorithm.
        optimizer (OptimWrapper): Of that step.
        saved (float): Bytes that autograd kept in it.
        batch (Any): Its batch, as the dataloader gives it.
        images (int): How many are in it.
    """
    wrappers = optimizer.values() if isinstance(optimizer, OptimWrapperDict) else [optimizer]
    states = [tensor for wrapper in wrappers for tensor in _tensors(wrapper.optimizer.state)]
    return Needs(_bytes([*model.parameters(), *model.buffers()]),
                 _bytes(weight for weight in model.parameters() if weight.requires_grad),
                 _bytes(states), (saved + _bytes(_tensors(batch))) / images)


def check_fits(needs: Needs, images: int) -> None:
    """Stop in one line where a step of so many images cannot fit."""
    free = free_bytes()
    if free is None or needs.step(images) <= free:
        return
    most = int(max(0, free - needs.gradients) // needs.image)
    raise ConfigError(
        f'does not fit: a process with {images} images a step needs at least '
        f'{size(needs.weights + needs.optimizer + needs.step(images))} '
        f'({needs.text(images)}), and beside weights and optimizer {_device()} has '
        f'{size(free)} free; {f"at most {most} images" if most else "a smaller model"} would '
        'fit, or mixed precision (--amp)')


def free_bytes() -> Optional[float]:
    """What this process can still get; None if the system does not say."""
    if torch.cuda.is_available():
        unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return torch.cuda.mem_get_info()[0] + unused
    try:
        lines = dict(line.split(':') for line in Path('/proc/meminfo').read_text().splitlines())
    except OSError:
        return None
    free = 1024. * int(lines['MemAvailable'].split()[0])
    limit, used = CGROUP / 'memory.max', CGROUP / 'memory.current'
    if limit.is_file() and limit.read_text().strip().isdigit():
        free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free / int(os.environ.get('LOCAL_WORLD_SIZE', '1'))  # for each process here


def peak_memory() -> float:
    """The most that this process has had: on its GPU, or all of it where there is none."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return 1024. * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def size(count: float) -> str:
    """Bytes as MB or GB, with three digits."""
    return f'{count / 1e6:.3g} MB' if count < 1e9 else f'{count / 1e9:.3g} GB'


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else 'this machine'


def _bytes(tensors: Iterable[Tensor]) -> int:
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def _tensors(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)
