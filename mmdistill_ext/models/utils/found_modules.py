"""Modules looked up by name once, and anew as soon as one was replaced."""
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from torch import nn

KEY = '_found_modules'  # an attribute of a model, copied with it


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
        places: Dict[Tuple[int, str], Tuple[dict, str, nn.Module]] = {}
        self._modules: List[nn.Module] = []
        for name in names:
            module = self.model
            for key in name.split('.') if name else ():
                parent, module = module, module.get_submodule(key)
                places[id(parent), key] = (parent._modules, key, module)
            self._modules.append(module)
        self._named = list(zip(names, self._modules))
        self._kept: Dict[Callable, Any] = {}
        self._places: List[Tuple[dict, str, nn.Module]] = list(places.values())
        self._parameters = [module._parameters for module in self._modules if module._parameters]

    def __call__(self) -> List[nn.Module]:
        """The modules, in the order of the names."""
        for children, key, module in self._places:
            if children.get(key) is not module:
                self._find()
                break
        return self._modules

    def kept(self, compute: Callable[[List[Tuple[str, nn.Module]]], Any]) -> Any:
        """What a function makes of the names and modules, until a module is replaced."""
        self()
        if compute not in self._kept:
            self._kept[compute] = compute(self._named)
        return self._kept[compute]

    def trainable(self) -> List[nn.Parameter]:
        """Parameters of these modules, not of their children, that take a gradient."""
        self()
        return [parameter for own in self._parameters for parameter in own.values()
                if parameter is not None and parameter.requires_grad]


def every_module(model: nn.Module) -> FoundModules:
    """All modules of a model, itself first."""
    found = vars(model).get(KEY)
    if found is None:
        found = vars(model)[KEY] = FoundModules(model)
    return found
