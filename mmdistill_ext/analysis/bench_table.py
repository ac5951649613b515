"""The bench's table and picture."""
from pathlib import Path

FLOOR = ('student', 'teacher forward', 'connectors and losses')
STOCK = "MMRazor's MGD"


def floor_of(rows: dict) -> float:
    """Seconds of what no implementation can do without, or of the student where that is all."""
    return sum(rows[name]['seconds'] for name in FLOOR if name in rows)


def markdown(results: dict, machine: dict) -> str:
    """One table a group.

    Args:
        results (dict): Group -> row -> figures.
        machine (dict): What ran it.
    """
    lines = [', '.join(f'{key} {value}' for key, value in machine.items()), '']
    for group, rows in results.items():
        lines += [f'### {group}', '',
                  '| row | s/step (min, max) | of the floor | of the stock run | GFLOP | '
                  'saved for backward, MB | checkpoint, MB |', '|---|---|---|---|---|---|---|']
        floor = floor_of(rows)
        for name, row in rows.items():
            to_floor = f'{row["seconds"] / floor:.2f}' if floor else ''
            to_stock = f'{row["seconds"] / rows[STOCK]["seconds"]:.2f}' if STOCK in rows else ''
            lines.append(
                f'| {name} | {row["seconds"]:.3f} ({row["fastest"]:.3f}, {row["slowest"]:.3f}) '
                f'| {to_floor} | {to_stock} | {row["gflop"]:.1f} | {row["saved_mb"]:.1f} '
                f'| {row["checkpoint_mb"]:.1f} |')
        lines.append('')
    return '\n'.join(lines)


def draw(results: dict, path: Path) -> None:
    """Bars of seconds a step, one panel a group."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt
    figure, axes = plt.subplots(1, len(results), figsize=(4.5 * len(results), 3.2), squeeze=False)
    for axis, (group, rows) in zip(axes[0], results.items()):
        names = list(rows)[::-1]
        axis.barh(names, [rows[name]['seconds'] for name in names],
                  color=['tab:blue' if name.startswith(('ours', 'Tf-FD', 'FCFD')) else '0.7'
                         for name in names])
        if all(name in rows for name in FLOOR):
            axis.axvline(floor_of(rows), color='k', linestyle=':', label='floor')
            axis.legend(loc='lower right')
        axis.set(title=group, xlabel='seconds a step')
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def write_between(path: Path, name: str, text: str) -> None:
    """Replace what stands between the two markers ``<!-- name -->`` of a page."""
    marker = f'<!-- {name} -->'
    before, _, after = path.read_text().split(marker)
    path.write_text(f'{before}{marker}\n{text}\n{marker}{after}')
