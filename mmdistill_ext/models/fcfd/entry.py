"""Entering a network after one of its modules.

Two things are enough to enter a network in the middle: its own forward, and stand-ins for the
modules before. So whatever it does between its modules (pooling, a class token in front of patches,
a grid handed on beside them) is done as it does it, and no backbone has to be known by name.
"""
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from ...errors import ConfigError
from ..utils.constants import constant
from ..utils.dry_run import tensors_of

Given = Dict[str, list]  # by module what its calls gave, of tensors the shape alone


class Call(NamedTuple):
    """One call of a module in the forward that was watched.

    Args:
        name (str): The module's.
        parents (tuple[int]): The calls that it is a part of, by their place in the list.
        ends (list): What it gave, how many calls had ended by then, the output's version then.
    """
    name: str
    parents: Tuple[int, ...]
    ends: list


class Entry(NamedTuple):
    """How a network is entered after a module.

    Args:
        before (dict[str, int]): The modules that are left out, and how many of their calls.
        after (list[str]): The modules that run.
    """
    before: Dict[str, int]
    after: List[str]


def watch(model: nn.Module, inputs: Tensor) -> Tuple[List[Call], Any]:
    """All calls of submodules in ``model(inputs)`` as they began, and its output."""
    calls: List[Call] = []
    running: List[int] = []
    handles, ended = [], [0]

    def begin(name):

        def hook(*_):
            calls.append(Call(name, tuple(running), []))
            running.append(len(calls) - 1)

        return hook

    def end(_, __, output):
        feature = last_tensor(output)
        version = 0 if feature is None else feature._version
        ended[0] += 1
        calls[running.pop()].ends.extend([output, ended[0], version])

    try:
        for name, module in model.named_modules():
            if name:
                handles.append(module.register_forward_pre_hook(begin(name)))
                handles.append(module.register_forward_hook(end))
        return calls, model(inputs)
    finally:
        for handle in handles:
            handle.remove()


def entry_after(calls: List[Call], name: str) -> Entry:
    """How to enter after the only call of a module."""
    index, = (i for i, call in enumerate(calls) if call.name == name)
    own = calls[index]
    before: Dict[str, int] = {}
    after: Dict[str, None] = {}
    for i, call in enumerate(calls):
        outer = set(call.parents) <= set(own.parents)  # is its parent called, not a stand-in?
        if i in own.parents or not outer or index in call.parents:
            continue
        if i <= index:
            before[call.name] = before.get(call.name, 0) + 1
        else:
            after[call.name] = None
    return Entry(before, list(after))


def last_tensor(output: Any) -> Any:
    """None where there is none."""
    return next(reversed(tensors_of(output)), None)


def _hw(output: Any) -> Optional[Tuple[int, int]]:
    """The height and width that transformers hand on beside their tokens."""
    pair = output[1] if isinstance(output, (tuple, list)) and len(output) == 2 else None
    found = isinstance(pair, (tuple, list, torch.Size)) and len(pair) == 2 \
        and all(isinstance(size, int) for size in pair)
    return (pair[0], pair[1]) if found and pair else None


def feature_of(output: Any) -> Tensor:
    """The feature in what a module gave: the last tensor; tokens as a map if their grid is there.

    Args:
        output: A tensor, or a tuple whose last tensor counts.
    """
    feature, hw = last_tensor(output), _hw(output)
    if hw and feature.ndim == 3:
        return feature.view(len(feature), *hw, -1).permute(0, 3, 1, 2).contiguous()
    return feature


def with_feature(output: Any, feature: Tensor) -> Any:
    """The same output with another feature, the inverse of :func:`feature_of`."""
    if _hw(output) and last_tensor(output).ndim == 3:
        feature = feature.flatten(2).transpose(1, 2).contiguous()
    leaves, form = tree_flatten(output)
    last = max(i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor))
    return tree_unflatten([*leaves[:last], feature, *leaves[last + 1:]], form)


def shape_of(output: Any) -> Any:
    """What a module gave, with tensors that have a shape and no values."""
    return tree_map(lambda x: torch.empty_like(x, device='meta') if isinstance(x, Tensor) else x,
                    output)


class StandIns(NamedTuple):
    """How stand-ins are made, whose values do not matter.

    Args:
        value (float): Of all elements. Defaults to 0.
        writable (bool): For a network that writes to what its modules gave: each element has a
            place of its own, where else all of them share one. Defaults to False.
    """
    value: float = 0.
    writable: bool = False

    def of(self, shape: Any, device: torch.device) -> Any:
        """An output of a shape that :func:`shape_of` gave."""

        def tensor(x):
            if not isinstance(x, Tensor):
                return x
            spread = constant(self.value, device, x.dtype).expand(x.shape)
            return spread.clone() if self.writable else spread

        return tree_map(tensor, shape)


@contextmanager
def entered(model: nn.Module, name: str, entry: Entry, given: Given, feature: Tensor,
            stand_ins: StandIns) -> Iterator[None]:
    """Lets ``model`` run on, in this context, from a feature in a module's place.

    Args:
        model (nn.Module): The network.
        name (str): The module whose output is replaced.
        entry (Entry): How it is entered there.
        given (dict[str, list]): What its modules gave in its last forward.
        feature (Tensor): What the module would have given, as :func:`feature_of` has it.
        stand_ins (StandIns): What is given in the place of all that is left out.
    """
    changed = []
    parts = name.split('.')
    for depth in range(1, len(parts)):
        parent = '.'.join(parts[:depth])
        if 'forward' in vars(model.get_submodule(parent)):  # as activation_checkpointing has it
            raise ConfigError(f'FCFD: {name!r} lies in {parent!r}, which is checkpointed and would '
                              'run again in backward, from its own start; end stages after it')

    def leave_out(module, outputs, own):
        rest = iter(outputs)

        def forward(*args, **kwargs):
            output = next(rest, None)
            return own(*args, **kwargs) if output is None else output()

        changed.append((module, module.__dict__.get('forward')))
        module.forward = forward

    def output_of(place, shape):
        if place == name:
            return lambda: with_feature(stand_ins.of(shape, feature.device), feature)
        return lambda: stand_ins.of(shape, feature.device)

    try:
        for place, count in entry.before.items():
            module = model.get_submodule(place)
            leave_out(module, [output_of(place, shape) for shape in given[place][:count]],
                      module.forward)
        yield
    finally:
        for module, forward in changed:
            if forward is None:
                del module.forward
            else:
                module.forward = forward
