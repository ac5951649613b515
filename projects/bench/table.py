"""The bench's tables and picture."""
from pathlib import Path

from .targets import FLOOR, STOCK, floor_of, held_against, number

TIMES = {'host': ('ms', 1000), 'start-up': ('s to the end of the first iteration', 1)}


def markdown(results: dict, machine: dict) -> str:
    """The figures beside their targets, and one table a group.

    Args:
        results (dict): Group -> row -> figures.
        machine (dict): What ran it.
    """
    lines = [f'{machine["device"]}, {machine["threads"]} threads, torch {machine["torch"]}, '
             f'{machine["precision"]}; a matrix product runs at {machine["float32"]:.0f} GFLOP/s '
             f'in float32 and {machine["bfloat16"]:.0f} in bf16.', '',
             '### Figures and targets', '',
             '| | figure | measured | target | | with the teacher at matmul speed |',
             '|---|---|---|---|---|---|']
    for held in held_against(results, machine):
        holds = 'holds' if held.holds else '**missed**'
        lines.append(f'| {held.group} | {held.text} | {number(held.figure)} | {number(held.most)} '
                     f'| {holds} | {number(held.limit) if held.limit else ""} |')
    lines += _profiles(results, machine)
    for group, rows in results.items():
        lines += ['', f'### {group}', '']
        lines += _times(rows, *TIMES[group]) if group in TIMES else _group(rows)
    return '\n'.join(lines) + '\n'


def _profiles(results: dict, machine: dict) -> list:
    """Where the time goes in the rows that miss a target of time."""
    missed = dict.fromkeys((held.group, held.row) for held in held_against(results, machine)
                           if held.key == 'seconds' and not held.holds
                           and 'shares' in results[held.group][held.row])
    if not missed:
        return []
    return ['', '### Where the time goes, of the rows that miss a time', '', *(
        f'- {group}, {row}: ' + ', '.join(
            f'{name.replace("aten::", "")} {100 * share:.0f} %'
            for name, share in results[group][row]['shares'].items())
        for group, row in missed)]


def _group(rows: dict) -> list:
    heads = ['row', 's/step (min, max)', 'of the floor', 'of the student', 'of the stock run',
             'GFLOP', 'GFLOP/s', 'operators', 'casts', 'saved for backward, MB',
             'weights in a checkpoint, MB',
             *(["the GPU's work, s", 'peak of a step, MB'] if _on_gpu(rows) else [])]
    lines = [f'| {" | ".join(heads)} |', '|' + '---|' * len(heads)]
    for name, row in rows.items():
        def over(seconds):
            return f'{row["seconds"] / seconds:.2f}' if seconds else ''  # noqa: B023
        lines.append(
            f'| {name} | {_s(row["seconds"])} ({_s(row["fastest"])}, {_s(row["slowest"])}) '
            f'| {over(floor_of(rows))} | {over(_seconds(rows, "student"))} '
            f'| {over(_seconds(rows, STOCK))} '
            f'| {row["gflop"]:.1f} | {row["gflop"] / row["seconds"]:.0f} '
            f'| {row["operators"]} | {row["casts"]} '
            f'| {row["saved_mb"]:.1f} | {row["checkpoint_mb"]:.1f} |'
            + (f' {_s(row["kernel_seconds"])} | {row["peak_mb"]:.0f} |' if _on_gpu(rows) else ''))
    return lines


def _s(seconds: float) -> str:
    return f'{seconds:.3f}' if seconds >= .1 else f'{seconds:.4f}'


def _seconds(rows: dict, name: str) -> float:
    return rows[name]['seconds'] if name in rows else 0.


def _on_gpu(rows: dict) -> bool:
    return 'peak_mb' in next(iter(rows.values()))


def _times(rows: dict, head: str, scale: int) -> list:
    return [f'| row | {head} (min, max) |', '|---|---|', *(
        f'| {name} | {scale * row["seconds"]:.1f} ({scale * row["fastest"]:.1f}, '
        f'{scale * row["slowest"]:.1f}) |' for name, row in rows.items())]


def draw(results: dict, path: Path) -> None:
    """Bars of seconds, one panel a group."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt
    columns = min(3, len(results))
    lines = -(-len(results) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(5 * columns, 3.2 * lines), squeeze=False)
    for axis in axes.flat[len(results):]:
        axis.remove()
    for axis, (group, rows) in zip(axes.flat, results.items()):
        names = list(rows)[::-1]
        axis.barh(names, [rows[name]['seconds'] for name in names],
                  color=['tab:blue' if name.startswith(('ours', 'Tf-FD', 'FCFD')) or
                         name.endswith(': ours') else '0.7' for name in names])
        if all(name in rows for name in FLOOR):
            axis.axvline(floor_of(rows), color='k', linestyle=':', label='floor')
            axis.legend(loc='lower right')
        axis.set(title=group, xlabel='seconds' if group in TIMES else 'seconds a step')
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
