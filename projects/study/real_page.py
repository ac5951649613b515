"""The real data's part of the study's page, and of the README: every row that has been run."""
import math
from pathlib import Path
from typing import Dict, List, Optional

from mmdistill_ext.analysis.tables import write_between

from . import picture as study_picture
from .page import gain_text, mean_text, pair_lines
from .real_rows import CHOICE_EPOCHS, CHOICE_SEED, EPOCHS, HELD_OUT, OF, PAIRS, ROWS
from .stats import Gain, gain_by_seed

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
    return gain_by_seed(figures_of(results, row), figures_of(results, alone))


def lines_of(results: Dict[str, dict]) -> List[str]:
    """The table, how factors were chosen, and what has not been run."""
    lines = [f'| top-1 (%) on 10,000 test images, {EPOCHS} of {OF} epochs | last epoch '
             '| best epoch | seeds | gain, 95% interval | the paper, 240 epochs |',
             '|---|---|---|---|---|---|']
    for name, row in ROWS.items():
        last = figures_of(results, name)
        if last:
            best = list(figures_of(results, name, 'best').values())
            lines.append(
                f'| {row.title} | {mean_text(list(last.values()))} | {mean_text(best)} '
                f'| {len(last)} | {gain_text(gain_of(results, name))} | {row.paper} |')
    pairs = pair_lines(ROWS, {name: figures_of(results, name) for name in ROWS}, PAIRS)
    lines += ['', *pairs] if pairs else []
    missing = [row.title for name, row in ROWS.items() if not figures_of(results, name)]
    chosen = [line for name in ROWS if (line := _choice(results, name))]
    if chosen:
        lines += ['', f'Factors on the weight of a recipe were chosen by seed {CHOICE_SEED} after '
                  f'{CHOICE_EPOCHS} epochs on {HELD_OUT:,} images held out of training:', '',
                  *chosen]
    return [*lines, *(['', f'Not run yet: {"; ".join(missing)}.'] if missing else [])]


def _choice(results: Dict[str, dict], name: str) -> str:
    """What was tried for a row, and what was taken once all is there."""
    tried = {value: results[key]['last'] for value in ROWS[name].values
             if (key := f'{name}/choice-{value:g}') in results}
    if not tried:
        return ''
    text = ', '.join(f'{value:g}: {figure:.2f}' for value, figure in tried.items())
    line = f'- {ROWS[name].title}: {text}.'
    if len(tried) < len(ROWS[name].values):
        return line
    best = max(tried, key=tried.__getitem__)
    share = tried[best] / 100
    error = 100 * math.sqrt(share * (1 - share) / HELD_OUT)  # of counting right ones among so many
    alike = [f'{value:g}' for value, figure in tried.items()
             if value != best and tried[best] - figure < 2 * error]
    line += f' Chosen: {best:g}'
    if alike:
        line += f', which {HELD_OUT:,} images do not tell from {" and ".join(alike)}'
    return f'{line}.'


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
    """What the README says: the student alone, and what each method adds to its own."""
    alone = list(figures_of(results, 'student').values())
    gains = [f'{ROWS[name].title} {gain_text(gain)}' for name in ('fcfd', 'mlp', 'kd', 'tffd')
             if (gain := gain_of(results, name))]
    return (f'CIFAR-100, ResNet-56 -> ResNet-20, {EPOCHS} of the recipes\' {OF} epochs on a '
            f'processor. Top-1 of the student alone: {mean_text(alone)}. What '
            f'methods add to one that is trained alike, 95% intervals: {"; ".join(gains)}.')
