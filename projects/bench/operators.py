"""How many operators a step dispatches: each is a kernel to launch on a GPU, and time on a CPU."""
from collections import Counter
from typing import Callable, Optional

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# They give another view of a tensor and launch nothing.
VIEWS = frozenset((
    'view', '_unsafe_view', 'detach', 'alias', 't', 'transpose', 'permute', 'expand', 'slice',
    'select', 'unsqueeze', 'squeeze', 'as_strided', 'split', 'unbind', '_reshape_alias', 'unfold',
    'lift_fresh'))
CAST = '_to_copy'


class _Count(TorchDispatchMode):

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter = Counter()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = operator._schema.name.split('::')[1]
        if name not in VIEWS:
            self.counts[name] += 1
        return operator(*args, **kwargs or {})


def operators_of(step: Callable[[], object]) -> Counter:
    """Operator -> how often the step dispatched it, without those that give a view.

    Args:
        step (Callable): Runs forward and backward.
    """
    with _Count() as mode:
        step()
    return mode.counts


def of_a_second_run(forward: Callable[[], Optional[Tensor]]) -> Counter:
    """The operators of forward and backward; in the first run caches are filled.

    Args:
        forward (Callable): Returns the loss, or None for a forward alone.
    """
    def step() -> None:
        loss = forward()
        if loss is not None:
            loss.backward()
    step()
    return operators_of(step)
