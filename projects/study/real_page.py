"""The real data's part of the study's page, and of the README: every row that has been run."""
from pathlib import Path
from typing import Dict, List, Optional

from mmdistill_ext.analysis.tables import write_between

from . import picture as study_picture
from .page import gain_text
from .real_rows import CHOICE_EPOCHS, CHOICE_SEED, EPOCHS, HELD_OUT, OF, ROWS
from .stats import Gain, mean_and_deviation, paired_gain

PICTURE = 'images/results_cifar100.png'


def figures_of(results: Dict[str, dict], row: str, what: str = 'last') -> Dict[int, float]:
    """What a row reached, by seed.

    Args:
        results (dict[str, dict]): 'row/seed-0' -> what the run left.
        row (str): A key of ``ROWS``.
        what (str): 'last' or 'best' epoch. Defaults to 'last'.
    """
    return {result['seed']: result[what] for key, result in results.items()
            if key.startswith(f'{row}/seed-')}


def gain_of(results: Dict[str, dict], row: str) -> Optional[Gain]:
    """What a row adds to the student alone, from two seeds of both on."""
    alone = ROWS[row].alone_row
    if row == alone:
        return None
    ours, theirs = figures_of(results, row), figures_of(results, alone)
    both = sorted(ours.keys() & theirs.keys())
    return paired_gain([ours[s] for s in both], [theirs[s] for s in both]) if both[1:] else None


def lines_of(results: Dict[str, dict]) -> List[str]:
    """The table, and what has not been run."""
    lines = [f'| top-1 (%) on 10,000 test images, {EPOCHS} of {OF} epochs | last epoch '
             '| best epoch | seeds | gain, 95% interval | the paper, 240 epochs |',
             '|---|---|---|---|---|---|']
    for name, row in ROWS.items():
        last = figures_of(results, name)
        if last:
            best = list(figures_of(results, name, 'best').values())
            lines.append(
                f'| {row.title} | {_mean(list(last.values()))} | {_mean(best)} | {len(last)} '
                f'| {gain_text(gain_of(results, name))} | {row.paper} |')
    missing = [row.title for name, row in ROWS.items() if not figures_of(results, name)]
    for name, row in ROWS.items():
        tried = [f'{value:g}: {results[key]["last"]:.2f}' for value in row.values
                 if (key := f'{name}/choice-{value:g}') in results]
        if tried:
            lines += ['', f'{row.title}, the factor on the weight of its recipe, chosen by seed '
                      f'{CHOICE_SEED} after {CHOICE_EPOCHS} epochs on {HELD_OUT} images held out '
                      f'of training: {", ".join(tried)}.']
    return [*lines, *(['', f'Not run yet: {"; ".join(missing)}.'] if missing else [])]


def write(results: Dict[str, dict], page: Path, readme: Path) -> None:
    """Put the table, and the picture once there are gains, into the page; a line into the README.

    Args:
        results (dict[str, dict]): 'row/seed-0' -> what the run left.
        page (Path): docs/results.md.
        readme (Path): README.md.
    """
    lines = lines_of(results)
    gains = {row.title: gain for name, row in ROWS.items() if (gain := gain_of(results, name))}
    if gains:
        study_picture.draw({'CIFAR-100: points of top-1 added to the student alone': gains},
                           page.parent / PICTURE)
        lines += ['', f'![what each row adds to the student alone, 95% intervals]({PICTURE})']
    write_between(page, 'cifar100', '\n'.join(lines))
    write_between(readme, 'cifar100', sentence(results))


def sentence(results: Dict[str, dict]) -> str:
    """What the README says: the student alone and FCFD, as far as they have been run."""
    said = [f'{ROWS[name].title} {_mean(list(found.values()))} ({len(found)} '
            f'{"seed" if len(found) == 1 else "seeds"})'
            for name in ('student', 'fcfd', 'kd', 'tffd') if (found := figures_of(results, name))]
    return (f'CIFAR-100, top-1 after {EPOCHS} of the recipes\' {OF} epochs on a processor: '
            f'{"; ".join(said)}.')


def _mean(values: List[float]) -> str:
    if len(values) == 1:
        return f'{values[0]:.2f}'
    mean, deviation = mean_and_deviation(values)
    return f'{mean:.2f} ± {deviation:.2f}'
