"""Modules looked up by name once, and anew as soon as one was replaced."""
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple

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
    """Submodules of a model by name, without a walk through the model in each step.

    SyncBN, among others, puts new modules in the place of old ones after a model is built. Each
    look-up compares what the parents hold now with what they held before.

    Args:
        model (nn.Module): Where to look.
        names (Iterable[str], optional): Names as in ``model.named_modules()``. None (default) for
            all.

    Examples:
        >>> from torch import nn
        >>> from mmdistill_ext.models.utils.found_modules import FoundModules
        >>> model = nn.Sequential(nn.Sequential(nn.ReLU()))
        >>> found = FoundModules(model, ['0.0'])
        >>> model[0][0] = nn.Tanh()
        >>> found()
        [Tanh()]
    """

    def __init__(self, model: nn.Module, names: Optional[Iterable[str]] = None) -> None:
        self.model, self.names = model, None if names is None else list(names)
        self._find()

    def _find(self) -> None:
        names = self.names
        if names is None:
            names = [name for name, _ in self.model.named_modules()]
        # (parent, key) -> child, of all modules on the way
        places: Dict[Tuple[int, str], Tuple[Dict[str, Any], str, nn.Module]] = {}
        self._modules: List[nn.Module] = []
        for name in names:
            module = self.model
            for key in name.split('.') if name else ():
                parent, module = module, module.get_submodule(key)
                places[id(parent), key] = (parent._modules, key, module)
            self._modules.append(module)
        self._named = list(zip(names, self._modules))
        self._kept: Dict[Callable, Any] = {}
        self._kept_for_step: Dict[Callable, Any] = {}
        self._looked_in: Optional[object] = None
        self._places = [(children, key) for children, key, _ in places.values()]
        self._children = [child for *_, child in places.values()]
        self._parameters = [module._parameters for module in self._modules]

    def __call__(self) -> List[nn.Module]:
        """The modules, in the order of the names."""
        if _step is not None and self._looked_in is _step:
            return self._modules
        try:
            same = [children[key] for children, key in self._places] == self._children
        except KeyError:
            same = False
        if not same:
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
