"""Staged networks: a model that can be left and entered between its stages."""
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import ConfigError
from ..utils.dry_run import dry_run, get_module, tiny_images, untouched
from ..utils.stages import fcfd_stages
from .chain import Chain, feature_of, find_chain

PIXELS = 64  # of the image that shapes are learned from, tried first
MOST = 4  # stages by default, counted from the last


class Feature(NamedTuple):
    """What is known of a stage's output.

    Args:
        name (str): The module that gives it.
        channels (int): C.
        size (tuple[int, int]): H and W, for an image of ``image`` pixels.
        image (int): Pixels.
        post_relu (bool): Whether nothing in it is negative.
    """
    name: str
    channels: int
    size: Tuple[int, int]
    image: int
    post_relu: bool

    def __str__(self) -> str:
        return f'{self.name} {[self.channels, *self.size]}'


class Record:
    """What a pure path gave.

    Args:
        features (list[Tensor]): ``features[k - 1]`` is the output of stage k.
        logits (Tensor): ``[N, classes]``.
    """

    def __init__(self, features: List[Tensor], logits: Tensor) -> None:
        self.features, self.logits = features, logits

    @cached_property
    def pooled(self) -> Tensor:
        """Of the last feature, see :func:`pooled`."""
        return pooled(self.features[-1])

    def detached(self, dtype: Optional[torch.dtype] = None) -> 'Record':
        """The same without gradient, for use as a target; in another precision if asked."""
        return Record([x.detach().to(dtype or x.dtype) for x in self.features],
                      self.logits.detach())


class StagedNetwork:
    """A classifier cut into stages and a classifier part; each can be run alone.

    ``segments[0]`` is the stem and the first stage, ``segments[1]`` .. ``segments[N - 1]`` are the
    other stages, ``segments[N]`` is the classifier: all that comes after the last stage, up to the
    logits. Running them in a row gives exactly what the model gives, which is checked on a tiny
    image when the network is cut.

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
        ends = list(stages or fcfd_stages(model.backbone, what))
        for name in ends:
            get_module(model, name, what)
        with untouched(model):
            images, chain = self._probe(ends, what)
            if set(chain.overwritten) & set(ends):
                dry_run(model, ends, what)  # turns inplace off where that helps, else an error
                images, chain = self._probe(ends, what)
            self._cut(chain, ends, images.shape[-1], what, merge=stages is None)
            self.classes = chain.outputs[-1].shape[-1]
            if not torch.equal(self.run(0, images)[-1], chain.outputs[-1]):
                raise ConfigError(
                    f'{what}: {", ".join(step.name for step in chain.steps)} in a row do not give '
                    f'what {type(model).__name__} gives; name stages between which modules run '
                    'in a row')

    def _probe(self, ends: List[str], what: str) -> Tuple[Tensor, Chain]:
        errors = {}
        for images in tiny_images(self.model, PIXELS, 1):
            try:
                return images, find_chain(self.model, images, ends, what)
            except (RuntimeError, AssertionError) as error:
                errors[images.shape] = error
        shape = max(errors, key=lambda shape: shape[-1])  # which fails the least for its size
        raise ConfigError(f'{what}: {type(self.model).__name__} does not run on an input of '
                          f'{list(shape)}: {errors[shape]}') from errors[shape]

    def _cut(self, chain: Chain, ends: List[str], image: int, what: str, merge: bool) -> None:
        place = {step.name: index for index, step in enumerate(chain.steps)}
        for name in ends:
            if name not in place:
                raise ConfigError(f'{what}: {name!r} is not on the way from the image to the '
                                  f'logits, which is {", ".join(place)}')
            if chain.outputs[place[name]].ndim != 4:
                raise ConfigError(f'{what}: {name!r} gives '
                                  f'{list(chain.outputs[place[name]].shape)}, not a feature map '
                                  '[N, C, H, W]; name a module before it')
        cuts = [place[name] for name in ends]
        if cuts != sorted(set(cuts)):
            raise ConfigError(f'{what}: name every stage once, shallow to deep, found {ends}; the '
                              f'order is {sorted(set(ends), key=lambda name: place[name])}')
        if merge and len(cuts) > MOST:
            last = {chain.outputs[cut].shape[2:]: cut for cut in cuts}
            cuts = list(last.values())[-MOST:]
        found = [(chain.steps[cut].name, chain.outputs[cut]) for cut in cuts]
        self.features = [Feature(name, x.shape[1], tuple(x.shape[2:]), image, bool(x.min() >= 0))
                         for name, x in found]
        bounds = [0, *(cut + 1 for cut in cuts), len(chain.steps)]
        self.segments = [chain.steps[a:b] for a, b in zip(bounds, bounds[1:])]

    def __len__(self) -> int:
        """N, the number of stages."""
        return len(self.features)

    def ends(self) -> List[str]:
        """What each stage and the classifier end with, by name."""
        return [segment[-1].name for segment in self.segments]

    def run(self, k: int, x: Tensor, until: Optional[int] = None) -> List[Tensor]:
        """Enter the network after stage ``k``.

        Args:
            k (int): 0 for the whole network, N for the classifier alone.
            x (Tensor): What stage k would have given, ``[N, C, H, W]``; images for k = 0.
            until (int, optional): Leave after this stage. Defaults to N + 1, the classifier.

        Returns:
            list[Tensor]: The outputs of stages k + 1 .. N, then the logits.
        """
        outputs = []
        for segment in self.segments[k:until]:
            for step in segment:
                x = step(x)
            outputs.append(x)
        return outputs

    def modules_after(self, k: int) -> Dict[str, nn.Module]:
        """All modules, by name, that a path entering after stage ``k`` runs through."""
        return {f'{step.name}.{name}'.rstrip('.'): module
                for segment in self.segments[k:] for step in segment if step.module is not None
                for name, module in step.module.named_modules()}

    @contextmanager
    def recording(self) -> Iterator[Record]:
        """Keeps the stages' outputs and the logits of the model's own forward in this context."""
        nothing: Any = None  # before the forward
        record = Record([nothing] * len(self), nothing)
        with ExitStack() as hooks:

            def keep(step, index):

                def hook(_, __, output):
                    if index is None:
                        record.logits = feature_of(output)
                    else:
                        record.features[index] = feature_of(output)

                hooks.callback(step.module.register_forward_hook(hook).remove)

            for index in range(len(self)):
                keep(self.segments[index][-1], index)
            keep(self.segments[-1][-1], None)
            yield record


def pooled(feature: Tensor) -> Tensor:
    """What a classifier sees of a last stage: ``[N, C, H, W] -> [N, C]``, mean of the ReLU."""
    return F.relu(feature).mean((2, 3))
