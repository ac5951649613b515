"""Stops a run whose loss is NaN or infinite, or leaves such steps out."""
import math
from typing import Any, Dict, List, Optional

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmrazor.registry import HOOKS
from torch import Tensor

from ...errors import ConfigError, NumbersError, whole

ACTIONS = ('stop', 'skip')
SUM = 'the sum of the losses is not finite'
SKIPPED = 'skipped_steps'  # in the message hub, so a resumed run counts on


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Looks at the loss of each step. What is not finite is named, with the files of the batch.

    'stop' looks once the step is done, at the number that mmengine has fetched by then for its
    log: it costs nothing, and the run ends before a checkpoint is written. The rank that finds it
    ends, and the launcher ends the others.

    'skip' must know before the backward pass. Each step waits for its loss, asks all ranks (one
    number), and starts with a copy of the buffers of what is in training mode, such as running
    statistics, which a bad batch spoils too. A
    skipped step leaves no trace on any rank: no gradient, no change of weights, statistics, or
    of a gradient scaler. Of gradient accumulation it leaves out the one batch; the next takes its
    place.

    The overflow that a gradient scaler deals with is none of this: there the loss is finite.

    Args:
        action (str): 'stop' (default) or 'skip'.
        max_skips (int): With 'skip', the run stops after so many. Defaults to 10.

    Examples:
        >>> # In a config: leave out at most three steps whose loss is not finite, then stop.
        >>> custom_hooks = [dict(type='mmrazor.FiniteLossHook', action='skip', max_skips=3)]
        >>> from mmrazor.registry import HOOKS
        >>> hook = HOOKS.build(custom_hooks[0])
        >>> hook.action, hook.max_skips
        ('skip', 3)
    """

    priority = 'ABOVE_NORMAL'  # before the moving average and the checkpoint

    def __init__(self, action: str = 'stop', max_skips: int = 10) -> None:
        if action not in ACTIONS:
            raise ConfigError(f"FiniteLossHook: action is 'stop' or 'skip', found {action!r}")
        self.action = action
        self.max_skips = whole('FiniteLossHook: max_skips', max_skips)
        self.losses: Dict[str, Any] = {}  # of this step, as the model gave them
        self._buffers: List[Tensor] = []
        self._saved: List[Tensor] = []

    def before_train(self, runner: Runner) -> None:
        """Listen to the losses, and to skip, stand between the loss and the optimizer."""
        self.model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._handle = self.model.register_forward_hook(self._keep)
        if self.action == 'skip':
            self.skips = runner.message_hub.get_info(SKIPPED, 0)
            update = runner.optim_wrapper.update_params
            runner.optim_wrapper.update_params = lambda loss, **kwargs: (
                self._skip(runner) if self._any_rank_lost(loss) else update(loss, **kwargs))

    def before_train_epoch(self, runner: Runner) -> None:
        """Let the first step look for the buffers anew; the model is not in training mode yet."""
        self._buffers = []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Remember what the step may spoil."""
        self.data_batch = data_batch
        if self.action == 'skip':
            self._save_buffers()

    def _save_buffers(self) -> None:
        """Copy what a step may move; a frozen teacher, in evaluation mode, moves nothing."""
        if not self._buffers:
            buffers = (buffer for module in self.model.modules() if module.training
                       for buffer in module.buffers(recurse=False))
            self._buffers = list({id(buffer): buffer for buffer in buffers}.values())
            self._saved = [buffer.clone() for buffer in self._buffers]
        else:
            torch._foreach_copy_(self._saved, self._buffers)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: Optional[dict] = None) -> None:
        """Stop here where that is asked for; let go of the step."""
        assert outputs is not None
        if self.action == 'stop' and not math.isfinite(outputs['loss'].item()):
            raise NumbersError(f'iteration {runner.iter + 1}: {self._blame() or SUM}; look at '
                               'these images, or lower the learning rate or loss_weight, or clip '
                               'gradients (docs/troubleshooting.md)')
        self.losses, self.data_batch = {}, None

    def after_train(self, runner: Runner) -> None:
        """Leave everything as it was."""
        self._handle.remove()
        vars(runner.optim_wrapper).pop('update_params', None)

    def _keep(self, _, __, losses: Any) -> None:
        self.losses = losses if self.model.training else {}

    @staticmethod
    def _any_rank_lost(loss: Tensor) -> bool:
        lost = 1 - loss.detach().isfinite().float()
        all_reduce(lost, 'max')
        return bool(lost)

    @torch.no_grad()
    def _skip(self, runner: Runner) -> None:
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._saved)
        self.skips += 1
        runner.message_hub.update_info(SKIPPED, self.skips)
        said = all_gather_object(self._blame())
        ranks = [f'[rank {rank}] {text}' if len(said) > 1 else text
                 for rank, text in enumerate(said) if text]
        line = f'iteration {runner.iter + 1}: {" ".join(ranks) or SUM}'
        if self.skips > self.max_skips:
            raise NumbersError(f'{line}; {self.max_skips} steps were skipped before, and max_skips '
                               'allows no more (docs/troubleshooting.md)')
        runner.logger.warning(f'{line}; step skipped, {self.skips} so far')

    def _blame(self) -> str:
        """The losses that are not finite and the batch they came from; '' where all are."""
        lost = [text for name, value in self.losses.items() if 'loss' in name
                for text in self._lost(name, value)]
        return f'{", ".join(lost)} on {", ".join(_files(self.data_batch))}' if lost else ''

    def _lost(self, name: str, value: Any) -> List[str]:
        distiller = getattr(self.model, 'distiller', None)
        levels = getattr(distiller, 'level_values', {}).get(name.rsplit('.', 1)[-1])
        parts = levels if levels and name.startswith('distill.') else value
        if not isinstance(parts, (list, tuple)) or len(parts) == 1:
            total = value if isinstance(value, Tensor) else value[0]
            return [] if total.isfinite().all() else [f'{name} is {total.mean().item()}']
        return [f'{name} (level {index} of {len(parts)}) is {part.mean().item()}'
                for index, part in enumerate(parts) if not part.isfinite().all()]


def _files(data_batch: Any) -> List[str]:
    """What the data samples know of where they come from."""
    samples = data_batch.get('data_samples', []) if isinstance(data_batch, dict) else []
    return [str(getattr(sample, 'img_path', None) or
                f'image {getattr(sample, "sample_idx", index)}')
            for index, sample in enumerate(samples)]
