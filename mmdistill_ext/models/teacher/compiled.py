"""A frozen teacher's forward, compiled by ``torch.compile``."""
import inspect
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, Union

import numpy as np
import torch
from mmengine.utils import digit_version
from torch import nn

from ...errors import ConfigError, nearest

# Before it, PyTorch's compiler leaves out the hooks that record.
HOOKS_ARE_COMPILED = digit_version(torch.__version__) >= digit_version('2.2')


def check_compile(value: Any) -> None:
    """Raise unless ``value`` is a switch or a dict of ``torch.compile``'s arguments.

    Args:
        value: What the config says of ``teacher_compile``.
    """
    if not isinstance(value, (bool, dict)):
        raise ConfigError("teacher_compile is True, False or a dict of torch.compile's arguments, "
                          f'found {value!r}')
    known = list(inspect.signature(torch.compile).parameters)[1:]
    for name in value if isinstance(value, dict) else ():
        if name not in known:
            raise ConfigError(f'teacher_compile: torch.compile has no argument {name!r}; '
                              f'{nearest(str(name), known)}')
    if value is not False and not HOOKS_ARE_COMPILED:
        raise ConfigError(f'teacher_compile={value!r} needs PyTorch 2.2 or later, found '
                          f'{torch.__version__}, whose compiler leaves out the hooks that record')


def without_numpy_numbers(teacher: nn.Module) -> None:
    """Make a module's NumPy numbers Python's: a graph is cut where one decides (DropPath's rate).

    Args:
        teacher (nn.Module): Changed in place.
    """
    for module in teacher.modules():
        for name, value in vars(module).items():
            if isinstance(value, np.generic):
                setattr(module, name, value.item())


class CompiledForward:
    """Runs a teacher as far as it is read, as one graph.

    What ends the forward is caught inside of what is compiled, so tracing resolves it and the graph
    is not cut. A function is compiled and not the teacher, whose weights keep their names.

    Args:
        forward (Callable): Takes the teacher and what it is called with.
        config (bool | dict): As ``teacher_compile``, but False.
    """

    def __init__(self, forward: Callable[..., None], config: Union[bool, dict]) -> None:
        self.forward, self.config = forward, config
        arguments: Dict[str, Any] = dict(config) if isinstance(config, dict) else {}
        try:
            self._compiled = torch.compile(forward, **arguments)
        except Exception as error:  # of its own kinds: an unknown backend, mode or option
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigError(f'teacher_compile={config!r}: {reason}') from error

    def __call__(self, teacher: nn.Module, *args, **kwargs) -> None:
        self._compiled(teacher, *args, **kwargs)

    def __reduce__(self) -> tuple:
        """What is compiled cannot be pickled: a copy, or a model read from disk, compiles anew."""
        return CompiledForward, (self.forward, self.config)


@contextmanager
def eagerly(algorithm: nn.Module) -> Iterator[None]:
    """Inside, a compiled teacher runs as it is: the compiler fails on hooks that are put in front.

    Args:
        algorithm (nn.Module): Whose teacher, if it has one, may be compiled.
    """
    run = getattr(algorithm, '_run_frozen', None)
    if not isinstance(run, CompiledForward):
        yield
        return
    algorithm._run_frozen = run.forward  # type: ignore[assignment]
    try:
        yield
    finally:
        algorithm._run_frozen = run  # type: ignore[assignment]
