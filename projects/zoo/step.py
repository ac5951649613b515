"""One training step, and what must be true of it."""
from typing import Dict, List

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

OWN = ('student.', 'teacher.')  # of the losses that are not distillation


class WrongStep(Exception):
    """A step that would train on without teaching, or teach wrongly."""


def optimizer_of(model: nn.Module) -> OptimWrapper:
    """Small steps for whatever can be trained."""
    return OptimWrapper(torch.optim.SGD(
        [parameter for parameter in model.parameters() if parameter.requires_grad], lr=1e-4))


def train_step(model: BaseModel, batch: dict) -> None:
    """One step of a model of a library, alone."""
    model.train()
    losses = model.train_step(batch, optimizer_of(model))
    check_finite(losses)


def check_finite(losses: Dict[str, Tensor]) -> None:
    wrong = [name for name, value in losses.items() if not bool(torch.isfinite(value).all())]
    if wrong:
        raise WrongStep(f'{", ".join(wrong)} is no number')


def distill_step(algorithm: BaseModel, batch: dict) -> List[str]:
    """One step of an algorithm of this project; raises where it does not teach.

    Args:
        algorithm (BaseModel): As a runner builds it.
        batch (dict): What a dataloader gives.

    Returns:
        list[str]: The names of its distillation losses.
    """
    algorithm.train()
    teacher = dict(algorithm.teacher.named_parameters()) if hasattr(algorithm, 'teacher') else {}
    before = {name: value.clone() for name, value in teacher.items()}
    optimizer = optimizer_of(algorithm)
    losses = algorithm(**algorithm.data_preprocessor(batch, True), mode='loss')
    total, logged = algorithm.parse_losses(losses)
    check_finite(logged)
    names = [name for name in losses if 'loss' in name and not name.startswith(OWN)]
    distilled = sum(term for name in names for term in _terms(losses[name]))
    student = {name: value for name, value in algorithm.architecture.named_parameters()
               if value.requires_grad}
    gradients = torch.autograd.grad(distilled, list(student.values()), retain_graph=True,
                                    allow_unused=True)
    _check_gradients('the distillation losses', gradients)
    optimizer.backward(total)
    _check_gradients('the step', [value.grad for value in student.values()])
    optimizer.step()
    changed = [name for name, value in before.items()
               if not torch.equal(value, teacher[name])]
    if changed:
        raise WrongStep(f'the step changes the teacher: {changed[0]}')
    return names


def _terms(loss) -> list:
    return [term for item in loss for term in _terms(item)] if isinstance(loss, (list, tuple)) \
        else [loss.sum()]


def _check_gradients(what: str, gradients) -> None:
    gradients = [gradient for gradient in gradients if gradient is not None]
    if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
        raise WrongStep(f"{what}: a gradient of the student's is no number")
    if not any(bool(gradient.any()) for gradient in gradients):
        raise WrongStep(f'{what}: no gradient reaches the student')
