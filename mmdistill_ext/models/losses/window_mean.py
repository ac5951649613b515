"""Average pooling of one map to several sizes, with few operators and nothing kept for backward."""
from typing import Iterator, List, Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Size = Tuple[int, int]


def windows_between(size: Sequence[int], sizes: Sequence[Sequence[int]]) -> List[Optional[Size]]:
    """The windows that lead from ``size`` to each of ``sizes``, from large to small.

    Where windows fit into each other the next size is pooled from the last: averages of averages
    are the same and cheaper.

    Args:
        size (Sequence[int]): Height and width of the map.
        sizes (Sequence[Sequence[int]]): Heights and widths to pool to.

    Returns:
        list[tuple[int, int] | None]: Height and width of the windows, counted in what the last
        whole windows gave. None: windows that overlap, straight from the map.
    """
    found: List[Optional[Size]] = []
    for target in sizes:
        (rows, row_rest), (columns, column_rest) = map(divmod, size, target)
        whole = not (row_rest or column_rest)
        found.append((rows, columns) if whole else None)
        size = target if whole else size
    return found


def pooled(feature: Tensor, windows: Sequence[Optional[Size]],
           sizes: Sequence[Sequence[int]]) -> Iterator[Tensor]:
    """``feature`` average-pooled to each of ``sizes`` by the windows of :func:`windows_between`.

    Args:
        feature (Tensor): ``[N, C, H, W]``, float32 or float64.
        windows (list[tuple[int, int] | None]): See :func:`windows_between`.
        sizes (Sequence[Sequence[int]]): Heights and widths.
    """
    source = feature  # pooled in whole windows so far
    for window, size in zip(windows, sizes):
        if window is None:
            yield F.adaptive_avg_pool2d(feature, (size[0], size[1]))
            continue
        if window != (1, 1):
            source = WindowMean.apply(source, *window)
        yield source


class WindowMean(torch.autograd.Function):
    """Average pooling in whole windows. ``avg_pool2d`` keeps its input for backward."""

    @staticmethod
    def forward(ctx, x: Tensor, rows: int, columns: int) -> Tensor:
        ctx.window = rows, columns
        return window_mean(x, rows, columns)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        rows, columns = ctx.window
        return spread(grad / (rows * columns), rows, columns), None, None


def window_mean(x: Tensor, rows: int, columns: int) -> Tensor:
    """``[N, C, H, W]`` -> ``[N, C, H / rows, W / columns]``.

    On CPUs ``avg_pool2d`` takes up to eight times as long as the mean of strided views.
    """
    if x.device.type != 'cpu':
        return F.avg_pool2d(x, (rows, columns))
    x = _mean([x[:, :, row::rows] for row in range(rows)])
    return _mean([x[..., column::columns] for column in range(columns)])


def _mean(parts: Sequence[Tensor]) -> Tensor:
    """A running mean: one operator a part, no zero to start from and no sum to divide."""
    mean = parts[0]
    for count, part in enumerate(parts[1:], start=2):
        mean = torch.lerp(mean, part, 1 / count)
    return mean


def spread(x: Tensor, rows: int, columns: int) -> Tensor:
    """Each element repeated over its window: backward of :func:`window_mean`, not divided."""
    if rows == columns == 1:
        return x
    samples, channels, height, width = x.shape
    if x.is_contiguous(memory_format=torch.channels_last):
        windows = x.permute(0, 2, 3, 1)[:, :, None, :, None].expand(
            samples, height, rows, width, columns, channels)
        return windows.reshape(samples, height * rows, width * columns, channels) \
            .permute(0, 3, 1, 2)
    windows = x[:, :, :, None, :, None].expand(samples, channels, height, rows, width, columns)
    return windows.reshape(samples, channels, height * rows, width * columns)
