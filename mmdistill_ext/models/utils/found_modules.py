"""Modules looked up once, and anew as soon as one was replaced."""
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from torch import nn

KEY = '_found_modules'  # an attribute of a model, copied with it
_step: Optional[object] = None  # that runs now


@contextmanager
def within_a_step() -> Iterator[None]:
    """While a training step runs nothing replaces a module: in this context one look is enough."""
    global _step
    before, _step = _step, object()
    try:
        yield
    finally:
        _step = before


class FoundModules:
    """The modules of a model, itself first, without a walk through it in each step.

    SyncBN, among others, puts new modules in the place of old ones after a model is built. Each
    look-up compares what the parents hold now with what they held before.

    Args:
        model (nn.Module): Where to look.

    Examples:
        >>> from torch import nn
        >>> from mmdistill_ext.models.utils.found_modules import every_module
        >>> model = nn.Sequential(nn.Sequential(nn.ReLU()))
        >>> found = every_module(model)
        >>> model[0][0] = nn.Tanh()
        >>> found()[-1]
        Tanh()
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._find()

    def _find(self) -> None:
        self._named = list(self.model.named_modules())
        self._modules = [module for _, module in self._named]
        self._parents = [module._modules for module in self._modules]
        self._children = self._held()
        self._parameters = [module._parameters for module in self._modules]
        self._kept: Dict[Callable, Any] = {}
        self._kept_for_step: Dict[Callable, Any] = {}
        self._looked_in: Optional[object] = None

    def __getstate__(self) -> dict:
        """Of a copy, which keeps nothing: what was made may hold another network."""
        return dict(vars(self), _kept={}, _kept_for_step={})

    def _held(self) -> List[Optional[nn.Module]]:
        return [child for children in self._parents for child in children.values()]

    def __call__(self) -> List[nn.Module]:
        """The modules, in the order of ``model.modules()``."""
        if _step is not None and self._looked_in is _step:
            return self._modules
        if self._held() != self._children:
            self._find()
        self._looked_in = _step
        self._kept_for_step.clear()
        return self._modules

    def kept(self, compute: Callable[[List[Tuple[str, nn.Module]]], Any]) -> Any:
        """What a function makes of the names and modules, until a module is replaced."""
        self()
        if compute not in self._kept:
            self._kept[compute] = compute(self._named)
        return self._kept[compute]

    def kept_for_step(self, compute: Callable[['FoundModules'], Any]) -> Any:
        """What a function makes of these modules, computed once :func:`within_a_step`."""
        self()
        if compute not in self._kept_for_step:
            self._kept_for_step[compute] = compute(self)
        return self._kept_for_step[compute]

    def trainable(self) -> List[nn.Parameter]:
        """Parameters of these modules, not of their children, that take a gradient."""
        self()
        return [parameter for own in self._parameters if own for parameter in own.values()
                if parameter is not None and parameter.requires_grad]


def every_module(model: nn.Module) -> FoundModules:
    """All modules of a model, itself first."""
    found = vars(model).get(KEY)
    if found is None:
        found = vars(model)[KEY] = FoundModules(model)
    return found
