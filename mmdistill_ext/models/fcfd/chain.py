"""Finds the chain of modules that turns an image into logits, by watching one forward.

Most classifiers are a row of modules, each called with what the one before returned. Watching one
forward shows which, in what order, and in what form they pass the feature on, so no backbone has
to be known by name. What some do between two modules is tried from :data:`GLUE`.
"""
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import ConfigError
from ..utils.dry_run import tensors_of
from ..utils.found_modules import FoundModules


def flatten(x: Tensor) -> Tensor:
    """``[N, C, 1, 1] -> [N, C]``, between pooling and a linear layer."""
    return x.flatten(1)


def average(x: Tensor) -> Tensor:
    """ConvNeXt's pooling before its last norm layer."""
    return x.mean([-2, -1], keepdim=True)


GLUE = (F.relu, flatten, average)


def to_tokens(x: Tensor) -> Tensor:
    """``[N, C, H, W] -> [N, HW, C]``."""
    return x.flatten(2).transpose(1, 2).contiguous()


def to_map(tokens: Tensor, hw: Sequence[int]) -> Tensor:
    """``[N, HW, C] -> [N, C, H, W]``."""
    return tokens.view(len(tokens), *hw, -1).permute(0, 3, 1, 2).contiguous()


def _hw(value: Any) -> Optional[Tuple[int, int]]:
    """The height and width that transformers hand on beside their tokens."""
    pair = isinstance(value, (tuple, list, torch.Size)) and len(value) == 2
    return tuple(value) if pair and all(isinstance(size, int) for size in value) else None


class Step:
    """One module of the chain, as a function from feature to feature (maps, never tokens).

    Args:
        name (str): The module's name in the model, or what to call the function.
        model (nn.Module, optional): Where the module is looked up at each call, for it may be
            replaced (by SyncBN) after the network was cut.
        function (Callable, optional): One of :data:`GLUE` in a module's place.
        form (str): What it is called with: 'tensor', 'tuple' (a tuple of one), 'tokens', or
            'tokens_hw' (tokens, and height and width beside them).
        kwargs (dict, optional): Keyword arguments that the model calls it with.
    """

    def __init__(self, name: str, model: Optional[nn.Module] = None,
                 function: Optional[Callable] = None, form: str = 'tensor',
                 kwargs: Optional[dict] = None) -> None:
        self.name, self.model, self.function = name, model, function
        self.form, self.kwargs = form, kwargs or {}

        self._found = FoundModules(model, [name]) if model else None

    @property
    def module(self) -> Optional[nn.Module]:
        return self._found()[0] if self._found else None

    def __call__(self, x: Tensor) -> Tensor:
        call: Any = self.function or self.module
        if self.form == 'tuple':
            return feature_of(call((x, ), **self.kwargs))
        if self.form == 'tokens':
            return to_map(call(to_tokens(x), **self.kwargs), x.shape[2:])
        if self.form == 'tokens_hw':
            return feature_of(call(to_tokens(x), x.shape[2:], **self.kwargs))
        return feature_of(call(x, **self.kwargs))


def last_tensor(output: Any) -> Any:
    """None where there is none."""
    return next(reversed(tensors_of(output)), None)


def feature_of(output: Any) -> Tensor:
    """The feature in what a module returned: the last of a tuple, tokens as a map."""
    if isinstance(output, (tuple, list)) and len(output) == 2 and _hw(output[1]):
        return to_map(*output)
    return last_tensor(output)


class Call(NamedTuple):
    """One call of a module in the forward that was watched."""
    name: str
    args: tuple
    kwargs: dict
    results: list  # its output, how many calls had begun by then, the output's version then

    @property
    def input(self) -> Any:
        """The feature that it was given, None where that was none."""
        first = self.args[0] if self.args else None
        if isinstance(first, (tuple, list)) and first:
            first = first[-1]
        return first if isinstance(first, Tensor) else None


def watch(model: nn.Module, inputs: Tensor) -> Tuple[List[Call], Tensor, Any]:
    """All calls of submodules in ``model(inputs)`` as they began, what it worked on, its output."""
    calls, open_calls, handles, worked_on = [], [], [], []

    def begin(name):

        def hook(_, args, kwargs):
            calls.append(Call(name, args, kwargs, []))
            open_calls.append(calls[-1])

        return hook

    def end(_, __, output):
        version = feature._version if (feature := last_tensor(output)) is not None else 0
        open_calls.pop().results.extend([output, len(calls), version])

    try:  # its own hooks may have put the images into another memory format
        handles.append(model.register_forward_pre_hook(lambda _, args: worked_on.extend(args)))
        for name, module in model.named_modules():
            if name:
                handles.append(module.register_forward_pre_hook(begin(name), with_kwargs=True))
                handles.append(module.register_forward_hook(end))
        output = model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return calls, worked_on[0], output


class Chain(NamedTuple):
    """The steps from image to logits, what each gave, and which outputs the next overwrote."""
    steps: List[Step]
    outputs: List[Tensor]
    overwritten: List[str]


def find_chain(model: nn.Module, inputs: Tensor, ends: Sequence[str], what: str) -> Chain:
    """Cut ``model(inputs)`` into steps.

    Args:
        model (nn.Module): A model that returns logits. In evaluation mode.
        inputs (Tensor): ``[N, 3, H, W]``.
        ends (Sequence[str]): Modules that must be a step; what contains one is taken apart.
        what (str): Who asks, for messages.
    """
    calls, x, output = watch(model, inputs)
    chain = Chain([], [], [])
    hw, begun = None, 0
    while x is not output:
        call, glue = _next_call(calls[begun:], x, hw, ends)
        if call is None:
            glue = next((glue for glue in GLUE if same(glue(x), output)), None)
        if glue:
            chain.steps.append(Step(glue.__name__, function=glue))
            chain.outputs.append(x := glue(x))
        if call is None and glue:
            break
        if call is None:
            after = chain.steps[-1].name if chain.steps else 'the input'
            raise ConfigError(
                f'{what}: {type(model).__name__} cannot be cut after {after!r}: what takes its '
                'output is not a module; name stages between which modules run in a row')
        step = Step(call.name, model, form=_form(call), kwargs=call.kwargs)
        result, begun, version = call.results
        x = last_tensor(result)
        if x._version != version:
            chain.overwritten.append(step.name)
        if isinstance(result, (tuple, list)) and len(result) == 2 and _hw(result[1]):
            hw = _hw(result[1])
        chain.steps.append(step)
        chain.outputs.append(to_map(x, hw) if hw and x.ndim == 3 else x)
    return chain


def _form(call: Call) -> str:
    if isinstance(call.args[0], (tuple, list)):
        return 'tuple'
    if call.input.ndim != 3:
        return 'tensor'
    return 'tokens_hw' if len(call.args) > 1 else 'tokens'


def _next_call(calls: List[Call], x: Tensor, hw, ends: Sequence[str]):
    """The first call that takes ``x``, and what was done to ``x`` before where something was."""
    outer = [call for call in calls
             if call.input is not None and last_tensor(call.results) is not None
             and not any(end.startswith(f'{call.name}.') for end in ends)]
    for call in outer:
        if call.input is x:
            return call, None
    if hw and x.ndim == 3:
        x_map = to_map(x, hw)
        for call in outer:
            if same(call.input, x_map):
                return call, None
    for glue in GLUE:
        done = glue(x)
        for call in outer:
            if same(call.input, done):
                return call, glue
    return None, None


def same(a: Any, b: Tensor) -> bool:
    return isinstance(a, Tensor) and a.shape == b.shape and torch.equal(a, b)
