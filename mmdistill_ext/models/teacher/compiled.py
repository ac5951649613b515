"""A frozen teacher's forward, compiled by ``torch.compile``."""
import inspect
from typing import Any, Dict, Union

import torch
from mmengine.utils import digit_version
from torch import nn

from ...errors import ConfigError, nearest
from .early_stop import EarlyStop


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
    if value is not False and digit_version(torch.__version__) < digit_version('2.2'):
        raise ConfigError(f'teacher_compile={value!r} needs PyTorch 2.2 or later, found '
                          f'{torch.__version__}, whose compiler leaves out the hooks that record')


class CompiledForward:
    """Runs a teacher as far as it is read, as one graph.

    The end of the forward is caught inside of what is compiled, where it is resolved by tracing and
    cuts no graph. A function is compiled and not the teacher, whose weights keep their names.

    Args:
        stop (EarlyStop): Of the teacher.
        config (bool | dict): As ``teacher_compile``, but False.
    """

    def __init__(self, stop: EarlyStop, config: Union[bool, dict]) -> None:
        self.stop, self.config = stop, config
        arguments: Dict[str, Any] = dict(config) if isinstance(config, dict) else {}
        try:
            self._compiled = torch.compile(_run, **arguments)
        except Exception as error:  # of its own kinds: an unknown backend, mode or option
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigError(f'teacher_compile={config!r}: {reason}') from error

    def run(self, teacher: nn.Module, *args, **kwargs) -> None:
        """Call ``teacher``, as far as it is read."""
        self._compiled(self.stop, teacher, *args, **kwargs)

    def __reduce__(self) -> tuple:
        """What is compiled cannot be pickled: a copy, or a model read from disk, compiles anew."""
        return CompiledForward, (self.stop, self.config)


def _run(stop: EarlyStop, teacher: nn.Module, *args, **kwargs) -> None:
    stop.run(teacher, *args, **kwargs)
