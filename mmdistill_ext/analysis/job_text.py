"""What ``--dry-run`` prints of a training: places, parameters, seconds and hours."""
import os
from typing import Callable, List, NamedTuple

import torch
from mmengine.dist import get_world_size
from torch import nn

from . import places
from .tables import Table

MORE = (1, 2, 4, 8)  # times as many processes as here


class Job(NamedTuple):
    """What was measured.

    Args:
        images (int): A process's in a step.
        seconds (float): Of a step, loading left out.
        load (float): Seconds that one process takes to load the images of a step.
        workers (int): Processes that load.
        steps (int): Of the whole training, with as many processes as here.
        epochs (int): Of the whole training; 0 where it counts iterations.
        dataset (int): Images.
        drop_last (bool): Whether an epoch leaves out the last batch if it is not full.
    """
    images: int
    seconds: float
    load: float
    workers: int
    steps: int
    epochs: int
    dataset: int
    drop_last: bool

    def steps_with(self, processes: int) -> int:
        """Steps of the whole training on so many processes."""
        if not self.epochs or processes == get_world_size():
            return self.steps
        each = -(-self.dataset // processes)
        return self.epochs * (each // self.images if self.drop_last else -(-each // self.images))

    @property
    def wall(self) -> float:
        """Seconds of a step with loading, which workers do meanwhile."""
        return max(self.seconds, self.load / self.workers) if self.workers else \
            self.seconds + self.load

    def text(self) -> List[str]:
        """Lines with the seconds of a step and the hours of the training."""
        world = get_world_size()
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else \
            f'{os.cpu_count()} CPUs, {torch.get_num_threads()} threads'
        waits = self.workers and self.load / self.workers > self.seconds
        rows = [[f'{count}' + (' (measured)' if count == world else ''), count * self.images,
                 self.steps_with(count), self.steps_with(count) * self.wall / 3600]
                for count in (world * more for more in MORE) if self.steps_with(count)]
        return [f'a step of {self.images} images takes {self.seconds:.3g} s on {device}; to load '
                f'them takes one process {self.load:.3g} s, and num_workers={self.workers}',
                *(['WARNING: the step waits for its images: more workers, or lighter augmentation']
                  if waits else []), '',
                Table(['processes', 'images a step', 'steps', 'hours'], rows).markdown(),
                'hours without validation; of more processes, without their communication']


def places_read(model: nn.Module, shapes: places.Shapes, images: int) -> List[str]:
    """The table of places, where there are any."""
    if not places.places(model):
        return []
    return [f'where it reads, in a step of {images} images:',
            places.table(model, shapes).markdown(), '']


def parameters(model: nn.Module) -> List[str]:
    """How many there are, and how many of them are trained."""
    student, teacher = getattr(model, 'architecture', model), getattr(model, 'teacher', None)
    count: Callable = lambda parts: sum(part.numel() for part in parts) / 1e6  # noqa: E731
    parts = dict(student=list(student.parameters()),
                 teacher=list(teacher.parameters()) if teacher is not None else [])
    known = {id(weight) for group in parts.values() for weight in group}
    parts['connectors and bridges'] = [w for w in model.parameters() if id(w) not in known]
    found = Table(['parameters', 'million', 'of these trained'], [
        [name, count(group), count(w for w in group if w.requires_grad)]
        for name, group in parts.items() if group])
    return [found.markdown(), '']
