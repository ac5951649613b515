"""docs/models.md: the results as tables, between its markers."""
from pathlib import Path
from typing import Dict, List, Optional

from mmdistill_ext.analysis.tables import write_between

from .families import LEFT_OUT, families
from .run import Results

TITLES = dict(mmdet='Detectors (mmdet)', mmseg='Segmentors (mmseg)',
              mmpretrain='Classifiers (mmpretrain)')
METHODS = dict(link='link', fcfd='FCFD', tffd='Tf-FD')
WORDS = dict(works='yes', refused='no', wrong='**wrong**', traceback='**fails**')


def write_page(page: Path, results: Results) -> None:
    """Replace the tables of the page."""
    write_between(page, 'zoo', '\n'.join(lines_of(results)))


def trains(result: dict) -> bool:
    """Whether the model takes a step alone: the others are in no count."""
    return result.get('alone', {}).get('outcome') == 'works'


def outcome_of(result: dict, method: str) -> Optional[str]:
    """None where the method was not tried: Tf-FD without stages."""
    if method in result:
        return result[method] and result[method]['outcome']
    return 'traceback' if 'stopped' in result else None


def summary(result: dict) -> str:
    """One line for the screen."""
    if not trains(result):
        reason = result.get('alone', {}).get('reason') or result.get('stopped')
        return f'does not train alone: {reason}'
    return ', '.join(f'{title} {outcome_of(result, method) or "-"}'
                     for method, title in METHODS.items())


def count(results: List[dict], method: str) -> Dict[str, int]:
    """How often each outcome comes, and how often the method was tried."""
    outcomes = [outcome for result in results if (outcome := outcome_of(result, method))]
    return {'tried': len(outcomes), **{word: outcomes.count(word) for word in WORDS}}


def lines_of(results: Results) -> List[str]:
    """All that stands between the markers."""
    lines = ['| | families that train alone | link | FCFD | Tf-FD | fails or wrong |',
             '|---|---|---|---|---|---|']
    tried = {library: [result for key, result in results.items()
                       if key[0] == library and trains(result)] for library in TITLES}
    every = [result for group in tried.values() for result in group]
    for title, group in [*((TITLES[library], tried[library]) for library in TITLES),
                         ('all', every)]:
        counts = {method: count(group, method) for method in METHODS}
        works = [f'{counts[method]["works"]} of {counts[method]["tried"]}' for method in METHODS]
        bad = sum(counts[method][word] for method in METHODS for word in ('traceback', 'wrong'))
        lines.append(f'| {title} | {len(group)} | {" | ".join(works)} | {bad} |')
    for library, group in tried.items():
        if group:
            lines += ['', f'## {TITLES[library]}', '', *_table(group)]
        alone = [result for key, result in results.items()
                 if key[0] == library and not trains(result)]
        if alone:
            lines += ['', 'Not counted, for they do not train alone on the smallest batch:', '',
                      *(f'- {result["family"]}: {_plain(summary(result).split(": ", 1)[1])}'
                        for result in alone)]
        untried = [f'`{family}`' for family in families(library)
                   if (library, family) not in results]
        if untried:
            lines += ['', f'{TITLES[library]} not tried yet, {len(untried)}: {", ".join(untried)}.']
        left_out = '; '.join(f'{reason}: {", ".join(f"`{name}`" for name in names)}'
                             for reason, names in LEFT_OUT[library].items())
        lines += ['', f'Folders left out. {left_out[0].upper()}{left_out[1:]}.'] if group else []
    return lines


def _table(group: List[dict]) -> List[str]:
    lines = ['| family | smallest model | M parameters | link at | link | FCFD | Tf-FD | why not |',
             '|---|---|---|---|---|---|---|---|']
    for result in group:
        link, fcfd = result.get('link') or {}, result.get('fcfd') or {}
        kind = fcfd.get('type', '')
        cells = [result['family'], f'`{Path(result["config"]).stem}`',
                 f'{result["parameters"] / 1e6:.1f}',
                 f'`{link["place"]}`' if 'place' in link else '–', _word(result, 'link'),
                 _word(result, 'fcfd') + (f', `{kind}`' if fcfd.get('outcome') == 'works' else ''),
                 _word(result, 'tffd'), _why(result)]
        lines.append(f'| {" | ".join(cells)} |')
    return lines


def _word(result: dict, method: str) -> str:
    outcome = outcome_of(result, method)
    return WORDS[outcome] if outcome else '–'


def _why(result: dict) -> str:
    reasons = [f'{title}: {_plain(found["reason"])}' for method, title in METHODS.items()
               if (found := result.get(method)) and found['outcome'] != 'works']
    return '<br>'.join(reasons + ([result['stopped']] if 'stopped' in result else []))


def _plain(text: str) -> str:
    """A message as a cell of a table, where a bar would end it and a tag would be one."""
    for sign, shown in (('|', '/'), ('<', '&lt;'), ('>', '&gt;'), ('*', r'\*'), ('_', r'\_'),
                        ('[', r'\['), (']', r'\]')):
        text = text.replace(sign, shown)
    return text
