"""Staged networks: a model that can be left and entered between its stages."""
import math
from contextlib import contextmanager
from functools import partial
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from ...errors import ConfigError, one_of_types
from ..utils.dry_run import dry_run, get_module, tiny_images, untouched
from ..utils.found_modules import every_module
from ..utils.stages import fcfd_stages
from .entry import (
    Call,
    Given,
    StandIns,
    entered,
    entry_after,
    feature_of,
    last_tensor,
    shape_of,
    watch,
)
from .features import Record, feature_in, merged

PIXELS = 64  # of the image that shapes are learned from, tried first


class StagedNetwork:
    """A classifier that can be left and entered between its stages.

    What comes before an entry is left out of the network's own forward, see ``entry.py``. That
    entering with the network's own feature gives exactly what the network gives is checked on a
    tiny image when it is built.

    Args:
        model (nn.Module): Has a ``backbone`` and returns logits when called with images.
        stages (Sequence[str], optional): The modules that stages end with, shallow to deep.
            Defaults to what :func:`fcfd_stages` says.
        what (str): Who asks, for messages. Defaults to 'stages'.

    Attributes:
        features (list[Feature]): What the stages give.
        classes (int): Number of logits.
    """

    def __init__(self, model: nn.Module, stages: Optional[Sequence[str]] = None,
                 what: str = 'stages') -> None:
        self.model = model
        if stages is not None:
            one_of_types(what, stages, list, tuple)
        ends = list(stages or fcfd_stages(model.backbone, what))
        for name in ends:
            get_module(model, name, what)
        with untouched(model):
            images, calls, output = self._probe(what)
            if set(overwritten(calls)) & set(ends):
                dry_run(model, ends, what)  # turns inplace off where that helps, else an error
                images, calls, output = self._probe(what)
            self._cut(calls, ends, images.shape[-1], what, merge=stages is None)
            self._last = self._source_of(output, calls, what)
            self._before = {name for entry in self.entries for name in entry.before}
            self._stage = {feature.name: index for index, feature in enumerate(self.features)}
            self._hooked: Dict[str, nn.Module] = {}
            self._record: Optional[Record] = None  # of a forward that is recorded
            self._path: Optional[_Path] = None  # of one that was entered
            self._stand_ins = StandIns()
            self._given: Given = {}
            model.register_forward_pre_hook(self._begin)
            self._check(images, what)

    def _probe(self, what: str) -> Tuple[Tensor, List[Call], Any]:
        errors: Dict[torch.Size, Exception] = {}
        for images in tiny_images(self.model, PIXELS, 1):
            try:
                return images, *watch(self.model, images)
            except Exception as error:  # of a network that takes other sizes
                errors[images.shape] = error
        shape = max(errors, key=lambda shape: shape[-1])  # which fails the least for its size
        raise ConfigError(f'{what}: {type(self.model).__name__} does not run on an input of '
                          f'{list(shape)}: {_first_line(errors[shape])}') from errors[shape]

    def _cut(self, calls: List[Call], ends: List[str], image: int, what: str, merge: bool) -> None:
        network = type(self.model).__name__
        if merge:
            ends = merged({call.name: feature_of(call.ends[0]).shape for call in calls
                           if call.name in ends and last_tensor(call.ends[0]) is not None}) or ends
        of = {name: [call for call in calls if call.name == name] for name in ends}
        for name, own in of.items():
            if len(own) != 1:
                raise ConfigError(f'{what}: {name!r} runs {len(own)} times when {network} is '
                                  'called; name modules that run once')
        order = sorted(set(ends), key=lambda name: of[name][0].ends[1])
        if order != ends:
            raise ConfigError(f'{what}: name every stage once, shallow to deep, found {ends}; the '
                              f'order is {order}')
        outputs = {name: own[0].ends[0] for name, own in of.items()}
        for name, output in outputs.items():
            shape = None if last_tensor(output) is None else list(feature_of(output).shape)
            if shape is None or len(shape) not in (3, 4):
                raise ConfigError(f'{what}: {name!r} gives {shape or "no tensor"}, not a feature '
                                  'map [N, C, H, W] or tokens [N, L, C]; name a module before it')
        self.features = [feature_in(name, feature_of(outputs[name]), image) for name in ends]
        self.entries = [entry_after(calls, name) for name in ends]

    def _source_of(self, output: Any, calls: List[Call], what: str) -> str:
        """The outermost module that the logits come out of."""
        logits = feature_of(output)
        for call in calls:
            if last_tensor(call.ends[0]) is logits:
                return call.name
        raise ConfigError(f'{what}: the output of {type(self.model).__name__} comes out of none of '
                          'its modules; give it a head')

    def _check(self, images: Tensor, what: str) -> None:
        """Entering with its own features, the network must give its own answers."""
        with self.recording() as own:
            self.model(images)
        self.classes = own.logits.shape[-1]
        wrong: Optional[Tuple[str, str]] = None
        for writable in (False, True):
            self._stand_ins = StandIns(math.nan, writable)
            wrong = self._wrong_entry(own)
            if wrong is None:
                break
        if wrong is not None:
            name, reason = wrong
            raise ConfigError(
                f'{what}: after {name!r} {type(self.model).__name__} also reads what was '
                f'computed before it, or not all that {name!r} gives is one tensor{reason}; '
                'name stages that all of the network goes through')
        self._stand_ins = StandIns(writable=writable)

    def _wrong_entry(self, own: Record) -> Optional[Tuple[str, str]]:
        """The first stage after which the network gives other answers, and why if it says so."""
        for k, feature in enumerate(own.features, 1):
            goal = [*own.features[k:], own.logits]
            try:
                found, reason = self.run(k, feature), ''
            except Exception as error:  # whatever it makes of a value that is no number
                found, reason = [], f' ({_first_line(error)})'
            if len(found) != len(goal) or not all(map(torch.equal, found, goal)):
                return self.features[k - 1].name, reason
        return None

    def __len__(self) -> int:
        """N, the number of stages."""
        return len(self.features)

    def ends(self) -> List[str]:
        """What each stage and the classifier end with, by name."""
        return [*(feature.name for feature in self.features), self._last]

    def run(self, k: int, x: Tensor, until: Optional[int] = None) -> List[Tensor]:
        """Enter the network after stage ``k``, on the images that it saw last.

        Args:
            k (int): 0 for the whole network, N for the classifier alone.
            x (Tensor): What stage k would have given, ``[N, C, H, W]`` or tokens ``[N, L, C]``;
                images for k = 0.
            until (int, optional): Leave after this stage. Defaults to N + 1, the classifier.

        Returns:
            list[Tensor]: The outputs of stages k + 1 .. N, then the logits.
        """
        self._path = path = _Path(k, until, [])
        self._hook()
        try:
            if k == 0:
                path.outputs.append(feature_of(self.model(x)))
            else:
                with entered(self.model, self.features[k - 1].name, self.entries[k - 1],
                             self._given, x, self._stand_ins):
                    # Not called: its hooks would take it for a forward of the whole network.
                    output = self.model.forward(self._stand_ins.of(self._images, x.device))
                path.outputs.append(feature_of(output))
        except _Left:
            pass
        finally:
            self._path = None
        return path.outputs

    def modules_after(self, k: int) -> Dict[str, nn.Module]:
        """All modules, by name, that a path entering after stage ``k`` runs through."""
        return {f'{outer}.{name}'.rstrip('.'): module for outer in self.entries[k - 1].after
                for name, module in self.model.get_submodule(outer).named_modules()}

    @contextmanager
    def recording(self) -> Iterator[Record]:
        """Keeps the stages' outputs and the logits of the model's own forward in this context."""
        nothing: Any = None  # before the forward
        self._record = Record([nothing] * len(self), nothing)
        self._hook()
        try:
            yield self._record
        finally:
            self._record = None

    def _hook(self) -> None:
        """Hook what is new, or has taken the place of another module; hooks stay."""
        every_module(self.model).kept(self._hook_new)

    def _hook_new(self, _: Any) -> None:
        for name in {*self._before, *self._stage, self._last}:
            module = self.model.get_submodule(name)
            if self._hooked.get(name) is not module:
                module.register_forward_hook(partial(self._end, name))
                self._hooked[name] = module

    def _begin(self, _: nn.Module, args: tuple) -> None:
        if self._record is not None:
            self._images, self._given = shape_of(args[0]), {}

    def _end(self, name: str, _: nn.Module, __: tuple, output: Any) -> None:
        path, record, stage = self._path, self._record, self._stage.get(name)
        if path is not None:
            if stage is not None and stage >= path.k:
                path.outputs.append(feature_of(output))
                if stage + 1 == path.until:
                    raise _Left
        elif record is not None:
            if name in self._before:
                self._given.setdefault(name, []).append(shape_of(output))
            if stage is not None:
                record.features[stage] = feature_of(output)
            if name == self._last:
                record.logits = feature_of(output)


class _Path(NamedTuple):
    """A run that entered after stage ``k`` and leaves after ``until``, and what it gave so far."""
    k: int
    until: Optional[int]
    outputs: List[Tensor]


class _Left(BaseException):
    """Ends a forward after the stage that was asked for."""


def overwritten(calls: List[Call]) -> List[str]:
    """The modules whose output was changed after they gave it."""
    return [call.name for call in calls if (feature := last_tensor(call.ends[0])) is not None
            and feature._version != call.ends[2]]


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
