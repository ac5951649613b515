"""A schedule for the weight of any loss module."""
import math
from dataclasses import dataclass, fields
from typing import Dict, List, Optional, Union

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from mmrazor.registry import HOOKS
from torch import Tensor, nn

from ...errors import ConfigError, nearest, number, whole

SHAPES = dict(
    linear=lambda progress: progress,
    cosine=lambda progress: (1 - math.cos(math.pi * progress)) / 2)


@dataclass(frozen=True)
class Phase:
    """From ``start`` at ``begin`` to ``stop`` at ``end``, in epochs or iterations."""
    begin: int
    end: int
    start: float
    stop: float
    type: str = 'linear'

    @classmethod
    def from_config(cls, config: dict, what: str) -> 'Phase':
        """Check one entry of ``phases``; ``what`` names it in messages."""
        known = [field.name for field in fields(cls)]
        if not isinstance(config, dict):
            raise ConfigError(f'{what} is a dict of {", ".join(known)}, found {config!r}')
        for key in config:
            if key not in known:
                raise ConfigError(f'{what} has no field {key!r}; {nearest(str(key), known)}')
        for key in known[:4]:
            if key not in config:
                raise ConfigError(f'{what} lacks {key!r}: it takes {", ".join(known)}')
        phase = cls(**config)
        if phase.type not in SHAPES:
            raise ConfigError(f'{what}: type={phase.type!r}; {nearest(str(phase.type), SHAPES)}')
        for key in ('begin', 'end'):
            whole(f'{what}: {key}', config[key], 0)
        for key in ('start', 'stop'):
            number(f'{what}: {key}', config[key])
        if phase.end <= phase.begin:
            raise ConfigError(f'{what} is empty: it begins at {phase.begin}, ends at {phase.end}')
        return phase


def factor_at(phases: List[Phase], time: int) -> float:
    """The factor at an epoch or iteration (from 0). Between phases and after, the last one holds.

    It depends on nothing but its arguments, so a resumed run gets what an unbroken one gets.
    """
    factor = phases[0].start
    for phase in phases:
        if time >= phase.begin:
            progress = min((time - phase.begin) / (phase.end - phase.begin), 1.)
            share = SHAPES[phase.type](progress)
            factor = (1 - share) * phase.start + share * phase.stop
    return factor


@HOOKS.register_module()
class LossWeightHook(Hook):
    """Multiplies what a loss module gives by a factor that changes during training.

    The factor comes on top of the weight in the loss's own config, so any module will do,
    MMRazor's losses too. It is logged as ``loss_weight/<loss>``, smoothed as losses are.

    Args:
        loss (str): A name in ``model.distiller.distill_losses``, such as that of a link, or else
            of a module in the model, such as ``architecture.head.loss_module``, or ``loss_func`` of
            FCFD's heads, all of whose terms are multiplied.
        phases (list[dict]): In order; ``dict(begin=0, end=20, start=0., stop=1.)`` is 0 at time 0
            and reaches 1 at time 20. ``type`` is 'linear' (default) or 'cosine'. Before the first
            phase its ``start`` holds, after a phase its ``stop``.
        by_epoch (bool): Count in epochs, with one factor for all of an epoch, or in iterations.
            Defaults to True.

    Examples:
        >>> # In a config: up within 5 epochs, then constant, and down to 0 from 30 to 60.
        >>> custom_hooks = [dict(type='mmrazor.LossWeightHook', loss='loss_intra', phases=[
        ...     dict(begin=0, end=5, start=0., stop=1.),
        ...     dict(begin=30, end=60, start=1., stop=0., type='cosine')])]
        >>> # The factor at some epochs:
        >>> from mmrazor.registry import HOOKS
        >>> from mmdistill_ext.engine.hooks.loss_weight_hook import factor_at
        >>> hook = HOOKS.build(custom_hooks[0])
        >>> [round(factor_at(hook.phases, epoch), 2) for epoch in (0, 1, 5, 29, 45, 60)]
        [0.0, 0.2, 1.0, 1.0, 0.5, 0.0]
    """

    def __init__(self, loss: str, phases: List[dict], by_epoch: bool = True) -> None:
        self.name = f'LossWeightHook of {loss!r}'
        if not isinstance(phases, (list, tuple)) or not phases:
            raise ConfigError(f'{self.name}: phases is a list of dicts, found {phases!r}')
        self.loss = loss
        self.phases = [Phase.from_config(phase, f'{self.name}, phase {index}')
                       for index, phase in enumerate(phases)]
        self.by_epoch = by_epoch
        for index, (last, phase) in enumerate(zip(self.phases, self.phases[1:]), start=1):
            if phase.begin < last.end:
                raise ConfigError(f'{self.name}, phase {index} begins at {phase.begin}, before '
                                  f'the one before it ends at {last.end}')
        self.factor = self.phases[0].start

    def before_train(self, runner: Runner) -> None:
        """Find the loss and hook onto it."""
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ConfigError(f'{self.name}: by_epoch=True, but training counts iterations '
                              '(IterBasedTrainLoop); give the phases in iterations, by_epoch=False')
        module = self._find(runner)
        for hook in runner.hooks:
            if isinstance(hook, LossWeightHook) and hook is not self and hook.loss == self.loss:
                raise ConfigError(f'{self.name}: another one drives this loss; join their phases')
        until = runner.max_epochs if self.by_epoch else runner.max_iters
        if self.phases[-1].end > until:
            raise ConfigError(f'{self.name}, phase {len(self.phases) - 1} ends at '
                              f'{self.phases[-1].end}, but training at {until}; expected '
                              'an end before that')
        self.handle = module.register_forward_hook(self._scale)

    def before_train_iter(self,
                          runner: Runner,
                          batch_idx: int,
                          data_batch: Optional[dict] = None) -> None:
        """Set the factor of this iteration and log it."""
        self.factor = factor_at(self.phases, runner.epoch if self.by_epoch else runner.iter)
        runner.message_hub.update_scalar(f'train/loss_weight/{self.loss}', self.factor)

    def after_train(self, runner: Runner) -> None:
        """Leave the loss as it was."""
        self.handle.remove()

    def _find(self, runner: Runner) -> nn.Module:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        losses = getattr(getattr(model, 'distiller', None), 'distill_losses', nn.ModuleDict())
        modules = dict(model.named_modules())
        module = losses[self.loss] if self.loss in losses else modules.get(self.loss)
        if module is None or module is model:
            names = [*losses, *(name for name in modules if 'loss' in name)]
            raise ConfigError(f'{self.name}: {type(model).__name__} has no such loss; '
                              f'{nearest(self.loss, names)}')
        return module

    def _scale(self, module: nn.Module, inputs: tuple,
               output: Union[Tensor, Dict[str, Tensor]]) -> Union[Tensor, Dict[str, Tensor]]:
        if isinstance(output, dict):  # the terms of FCFD's heads
            return {name: self._scale(module, inputs, term) for name, term in output.items()}
        if not isinstance(output, Tensor):
            raise ConfigError(f'{self.name}: {type(module).__name__} gives a '
                              f'{type(output).__name__}, not a loss to scale')
        return output * self.factor
