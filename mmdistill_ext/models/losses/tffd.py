"""Tf-FD, distillation without a teacher (docs/tffd.md): the paper's form and the released one."""
import logging
from typing import Any, Iterable, List, Optional

from mmengine.logging import print_log
from mmrazor.registry import MODELS
from torch import Tensor, nn

from ...errors import ConfigError, few, nearest, number
from .distances import DISTANCES
from .tffd_released import released_inter_layers, released_intra_layers
from .tffd_terms import inter_layers, intra_layers

FORMS = ('paper', 'released')
RANKS = ('sample', 'batch')
PAIRS = ('dense', 'residual')


class _TfFDLoss(nn.Module):
    """What both losses share: the form, the distance, the weight, the check of what they get."""
    least = 1  # layers
    takes_maps_only = True  # a link makes maps of tokens where it can

    def __init__(self, form: Optional[str], distance: Optional[str], loss_weight: float,
                 **of_paper: Any) -> None:
        super().__init__()
        if form is None:
            form = 'paper'
            print_log(f"{type(self).__name__}: form is not given, and 'paper' is taken, thousands "
                      "of times the size of 'released', which the published weights belong to",
                      logger='current', level=logging.WARNING)
        self.form = self._one_of('form', form, FORMS)
        for field, value in dict(distance=distance, **of_paper).items():
            if form == 'released' and value is not None:
                raise ConfigError(f"{type(self).__name__}: {field}={value!r} belongs to "
                                  "form='paper', found form='released'; leave it out")
        distance = 'l2' if distance is None else str(distance).lower()
        self.distance = DISTANCES[self._one_of('distance', distance, DISTANCES)]
        self.loss_weight = number(f'{type(self).__name__}: loss_weight', loss_weight)

    def _one_of(self, field: str, value: Any, known: Iterable[str]) -> Any:
        if value not in known:
            raise ConfigError(f'{type(self).__name__}: {field}={value!r} is not known; '
                              f'{nearest(str(value), known)}')
        return value

    def _check(self, features: List[Tensor]) -> None:
        """The distiller's dry run calls the loss, so these are found when the model is built."""
        name = type(self).__name__
        shapes = few(list(feature.shape[1:]) for feature in features)
        if len(features) < self.least:
            raise ConfigError(f'{name}: found {len(features)} layer ({shapes}), but deep layers '
                              f'teach shallow ones: name {self.least} layers or more')
        if len({id(feature) for feature in features}) < len(features):
            raise ConfigError(f'{name}: two of the layers are one and the same feature '
                              f'({shapes}); name each layer once, modules that give one map each')
        other = [list(feature.shape[1:]) for feature in features if feature.ndim != 4]
        if other:
            raise ConfigError(f'{name}: expected maps [C, H, W], found {other[0]}')
        counts = {len(feature) for feature in features}
        if len(counts) > 1:
            raise ConfigError(f'{name}: in one step the layers have {few(sorted(counts))} samples; '
                              'name layers that all see the batch as it is')


@MODELS.register_module()
class TfFDIntraLoss(_TfFDLoss):
    """Within a layer, strong channels teach weak ones.

    Args:
        form (str, optional): 'paper' is the paper's equation (2), 'released' what its authors' code
            computes, which is thousands of times smaller and what the published weights belong to.
            None (default) is 'paper', with a warning.
        p (float, optional): Of the paper's form: channels are ranked by their l_p norm. None
            (default) is 2.
        rank (str, optional): Of the paper's form: 'sample' ranks the channels of each sample,
            'batch' finds one order for the whole batch. None (default) is 'sample'.
        distance (str, optional): Of the paper's form: 'l2', 'AT', 'SP' or 'ICKD', between the weak
            and the strong half. None (default) is 'l2'.
        loss_weight (float): beta in equation (4). Defaults to 1.0.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.losses import TfFDIntraLoss
        >>> layer = torch.tensor([3., 1.]).view(1, 2, 1, 1)  # a strong channel and a weak one
        >>> TfFDIntraLoss(form='paper')([layer]).item()  # (3 - 1)^2
        4.0
        >>> layers = [torch.ones(2, 4, 8, 8), torch.ones(2, 8, 4, 4)]
        >>> TfFDIntraLoss(form='released')(layers).item()  # nothing to learn
        0.0
    """

    def __init__(self,
                 form: Optional[str] = None,
                 p: Optional[float] = None,
                 rank: Optional[str] = None,
                 distance: Optional[str] = None,
                 loss_weight: float = 1.0) -> None:
        super().__init__(form, distance, loss_weight, p=p, rank=rank)
        p, rank = 2 if p is None else p, 'sample' if rank is None else rank
        if isinstance(p, bool) or not isinstance(p, (int, float)) or not p > 0:
            raise ConfigError(f'TfFDIntraLoss: p is a number above 0, found {p!r}')
        self.p = p
        self.rank = self._one_of('rank', rank, RANKS)

    def forward(self, features: List[Tensor]) -> Tensor:
        """The mean over the layers.

        Args:
            features (list[Tensor]): ``[N, C, H, W]`` each.
        """
        self._check(features)
        if self.form == 'released':
            return released_intra_layers(features, self.loss_weight)
        return intra_layers(features, self.p, self.rank, self.distance, self.loss_weight)

    def _check(self, features: List[Tensor]) -> None:
        super()._check(features)
        for feature in features:
            if feature.shape[1] < 2:
                raise ConfigError(f'TfFDIntraLoss: found a map of a single channel '
                                  f'({list(feature.shape[1:])}), which has no halves')


@MODELS.register_module()
class TfFDInterLoss(_TfFDLoss):
    """Deep layers teach shallow ones.

    Args:
        form (str, optional): 'paper' is the paper's equation (3), 'released' what its authors' code
            computes, which is thousands of times smaller and what the published weights belong to.
            None (default) is 'paper', with a warning.
        pairs (str): 'dense' takes every pair of layers, 'residual' neighbours only. Defaults to
            'dense'.
        distance (str, optional): Of the paper's form: 'l2', 'AT', 'SP' or 'ICKD', between the
            shallow map and each group of deep channels. None (default) is 'l2'.
        loss_weight (float): alpha in equation (4). Defaults to 1.0.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.losses import TfFDInterLoss
        >>> layers = [torch.zeros(2, 4, 8, 8), torch.ones(2, 8, 4, 4)]
        >>> TfFDInterLoss(form='paper')(layers).item()  # 4 channels of 4x4 differ by 1
        64.0
        >>> TfFDInterLoss(form='released')(layers).item()  # their mean
        1.0
    """
    least = 2

    def __init__(self,
                 form: Optional[str] = None,
                 pairs: str = 'dense',
                 distance: Optional[str] = None,
                 loss_weight: float = 1.0) -> None:
        super().__init__(form, distance, loss_weight)
        self.pairs = self._one_of('pairs', pairs, PAIRS)

    def forward(self, features: List[Tensor]) -> Tensor:
        """The mean over the pairs.

        Args:
            features (list[Tensor]): ``[N, C, H, W]`` each, from shallow to deep.
        """
        self._check(features)
        if self.form == 'released':
            return released_inter_layers(features, self.pairs, self.loss_weight)
        return inter_layers(features, self.pairs, self.distance, self.loss_weight)

    def _check(self, features: List[Tensor]) -> None:
        super()._check(features)
        for shallow, deep in zip(features, features[1:]):
            if any(x < y for x, y in zip(shallow.shape[2:], deep.shape[2:])):
                raise ConfigError(
                    f'TfFDInterLoss: layers go from shallow to deep, but {list(deep.shape[1:])} '
                    f'after {list(shallow.shape[1:])} is larger; name them in that order, modules '
                    'that give one map each')
