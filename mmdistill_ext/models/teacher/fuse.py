"""Folding a teacher's BatchNorm into the convolutions that run right before it."""
from collections import Counter, defaultdict
from contextlib import ExitStack
from typing import Callable, Dict, Optional

from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import fuse_conv_bn_weights

from ...errors import ConfigError, few
from ..utils.dry_run import tensors_of

Read = Callable[[], Dict[str, list]]


def fuse(teacher: nn.Module, read: Read) -> None:
    """Fold each BatchNorm into the convolution whose output it takes; log those that stay.

    Which convolution that is, is seen in a run: the order in which a module's children are
    registered (mmcv's ``fuse_conv_bn``) is not always the order in which they run.

    Args:
        teacher (nn.Module): A teacher in evaluation mode; changed in place.
        read (Callable): Runs it on a fixed input and returns what is read, by place.

    Raises:
        ConfigError: What is read changes by more than rounding; the teacher is then half done.
    """
    watch = _Watch(teacher)
    with watch:
        before = read()
    pairs = watch.pairs()
    for conv, weights in pairs.values():
        conv.weight, conv.bias = weights
    for module in teacher.modules():
        for name, child in module._modules.items():
            if child in pairs:
                module._modules[name] = nn.Identity()
    after = read()
    for place, outputs in before.items():
        for a, b in zip(tensors_of(outputs), tensors_of(after[place])):
            if not _close(b, a):
                raise ConfigError(
                    f'teacher_fuse_bn: fusing changes what is read at {place!r} by more than '
                    'rounding (as where something besides a norm layer takes what a '
                    'convolution returns); set teacher_fuse_bn=False')
    stay = [name for name, module in teacher.named_modules() if module in watch.feeders]
    if stay:
        print_log(
            f'teacher_fuse_bn: {len(pairs)} norm layers of the teacher are fused; {len(stay)} '
            'stay, because what they take is not the output of one Conv2d: '
            f'{few(stay)}', logger='current')


class _Watch(ExitStack):
    """A context in which it is noted which BatchNorm takes the output of which convolution."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        self.runs: Dict[nn.Module, int] = Counter()  # of a convolution
        self.fed: Dict[nn.Module, int] = Counter()  # how often a BatchNorm took its output
        self.feeders: Dict[nn.Module, list] = defaultdict(list)  # BatchNorm -> a module each run
        self.fused: Dict[nn.Module, Optional[tuple]] = {}  # BatchNorm -> weight and bias
        for module in teacher.modules():
            if isinstance(module, nn.Conv2d) and 'weight' in module._parameters:
                self.callback(module.register_forward_hook(self._after_conv).remove)
            elif isinstance(module, _BatchNorm):
                self.callback(module.register_forward_hook(self._after_norm).remove)

    def _after_conv(self, conv: nn.Module, args: tuple, output: Tensor) -> None:
        self.runs[conv] += 1
        if len(args) == 1:
            output.given_by = conv, args[0]  # type: ignore[attr-defined]

    def _after_norm(self, norm: nn.Module, args: tuple, output: Tensor) -> None:
        conv, inputs = getattr(args[0], 'given_by', (None, None))
        self.feeders[norm].append(conv)
        self.fed[conv] += 1
        if conv is not None and norm not in self.fused and norm.running_mean is not None:
            self.fused[norm] = _fused(conv, norm, inputs, output)

    def pairs(self) -> Dict[nn.Module, tuple]:
        """BatchNorm -> the convolution that feeds it and no other, and its weight and bias then."""
        return {norm: (feeders[0], self.fused[norm]) for norm, feeders in self.feeders.items()
                if self.fused.get(norm) is not None and set(feeders) == {feeders[0]}
                and self.runs[feeders[0]] == self.fed[feeders[0]] == len(feeders)}


def _fused(conv: nn.Conv2d, norm: nn.Module, inputs: Tensor, expected: Tensor) -> Optional[tuple]:
    """Weight and bias of a convolution that gives what ``norm`` gave; None if there are none.

    Tried at once: a layer that works in place may overwrite both tensors later. Some convolutions
    do more than their weight says (ConvWS2d).
    """
    plain = conv.weight, conv.bias
    weights = fuse_conv_bn_weights(*plain, norm.running_mean, norm.running_var, norm.eps,
                                   norm.weight, norm.bias)
    try:
        conv.weight, conv.bias = weights
        return weights if _close(conv.forward(inputs), expected) else None
    finally:
        conv.weight, conv.bias = plain


def _close(value: Tensor, expected: Tensor) -> bool:
    """Equal but for rounding; never where one is NaN."""
    return not expected.numel() or bool(
        (value - expected).abs().max() <= 1e-3 * expected.abs().max())
