"""How hard each distillation loss pulls at the student, beside the student's own losses."""
import logging
import statistics
from collections import defaultdict
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor

from ..errors import ConfigError, NumbersError
from .loss_weights import field_of

__all__ = ['Pull', 'measure']

TASK = 'student.'  # how the student's own losses begin in the log
Gradient = List[Optional[Tensor]]


class Pull(NamedTuple):
    """One loss, or all losses that share a weight: medians over the steps that were measured.

    Args:
        size (float): The loss as the log has it.
        gradient (float): Norm of its gradient, over the student's parameters that the task's
            losses reach too.
        task (float): Norm of the task's gradient over the same parameters.
    """
    size: float
    gradient: float
    task: float

    @property
    def ratio(self) -> float:
        """How many times the task's gradient; 0 where the loss does not reach the student."""
        return self.gradient / self.task if self.task else 0.


def measure(runner: Runner, steps: int, every: int) -> Dict[str, Pull]:
    """Train for some steps with the weights that the config states, and look at the losses.

    Args:
        runner (Runner): Built, not yet trained.
        steps (int): How many.
        every (int): Look at each so-many-th step: it costs a backward pass for each loss.

    Returns:
        dict[str, Pull]: By the loss's name in the log, and by the field that holds its weight.
    """
    model = runner.model
    runner._init_model_weights()
    runner.load_or_resume()
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    model.train()
    seen: Dict[str, List[Pull]] = defaultdict(list)
    for step, data in enumerate(_batches(runner, steps)):
        runner.message_hub.update_info('iter', step)
        with runner.optim_wrapper.optim_context(model):
            losses = model(**model.data_preprocessor(data, True), mode='loss')
            total, _ = model.parse_losses(losses)
        if not torch.isfinite(total):
            found = (f'the sum of the losses is {total.item()} in step {step + 1}: '
                     + ', '.join(f'{name} {value.item():g}' for name, value in _values(losses)))
            if not seen:
                raise NumbersError(found)
            print_log(f'{found}; measured are the steps before', logger='current',
                      level=logging.WARNING)
            break
        if step % every == 0:
            for name, pull in pulls(model, losses, runner.cfg.model).items():
                seen[name].append(pull)
        runner.optim_wrapper.update_params(total)
    return {name: Pull(*map(statistics.median, zip(*found))) for name, found in seen.items()}


def _batches(runner: Runner, steps: int) -> Iterable[dict]:
    loader = runner.build_dataloader(runner.cfg.train_dataloader, seed=runner.seed)
    count = 0
    while count < steps:
        for data in loader:
            if count == steps:
                return
            yield data
            count += 1


def pulls(model: BaseModel, losses: Dict[str, Tensor], config: dict) -> Dict[str, Pull]:
    """The gradients of one step.

    Args:
        model (BaseModel): The algorithm.
        losses (dict): What its 'loss' mode gave; the graph is kept.
        config (dict): Its config.
    """
    values = dict(_values(losses))
    student = getattr(model, 'architecture', model)
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    own = [value for name, value in values.items() if name.startswith(TASK)]
    if not own:
        raise ConfigError('the student has no loss of its own here (calculate_student_loss=False), '
                          'so there is nothing to compare with')
    task = _gradient(sum(own), weights)
    groups: Dict[str, List[str]] = defaultdict(list)
    for name in values:
        if not name.startswith((TASK, 'teacher.')):
            groups[name].append(name)
            groups[field_of(name, config)].append(name)
    gradients = {name: _gradient(values[name], weights) for name in groups if name in values}
    found = {}
    for group, names in groups.items():
        pull = _sum([gradients[name] for name in names])
        shared = [(a, b) for a, b in zip(pull, task) if a is not None and b is not None]
        found[group] = Pull(float(sum(values[name].item() for name in names)),
                            _norm(a for a, _ in shared), _norm(b for _, b in shared))
    return found


def _values(losses: Dict[str, Any]) -> Iterator[Tuple[str, Tensor]]:
    """Each loss as one number, as ``parse_losses`` adds them up."""
    for name, value in losses.items():
        if 'loss' in name:
            parts = value if isinstance(value, (list, tuple)) else [value]
            yield name, sum(part.mean() for part in parts)  # type: ignore[misc]


def _gradient(loss: Tensor, weights: List[Tensor]) -> Gradient:
    if not loss.requires_grad:
        return [None] * len(weights)
    return list(torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True))


def _sum(gradients: List[Gradient]) -> Gradient:
    return [sum(there) if (there := [x for x in each if x is not None]) else None
            for each in zip(*gradients)]


def _norm(tensors: Iterable[Tensor]) -> float:
    return float(sum(x.double().square().sum().item() for x in tensors)**.5)
