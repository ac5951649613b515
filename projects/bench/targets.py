"""What the bench's figures are held against."""
from typing import Callable, Dict, List, NamedTuple, Optional

FLOOR = ('student', 'teacher forward', 'connectors and losses')
OURS, FAST = 'ours', 'ours, fast teacher'
ONE, BOTH = 'preprocessing for one network', 'preprocessing for two'
PYTHON = 'FCFD, 4 paths: Python of ours'
STOCK, STOCK_MLP = "MMRazor's MGD", 'MMRazor with our MLP'
FAST_DTYPE = 'bfloat16'


def floor_of(rows: dict) -> float:
    """Seconds of what no implementation can do without, of those rows that there are."""
    return sum(rows[name]['seconds'] for name in FLOOR if name in rows)


class Target(NamedTuple):
    """A figure and what it should not exceed.

    Args:
        text (str): What the figure is.
        row (str): The row that it is of.
        key (str): Which of the row's figures it is made of.
        figure (Callable): Computes it from the group's rows.
        most (float): The target.
        others (tuple[str]): The other rows that it needs.
        dtype (str): Where the figure is time to the floor: the precision of the teacher.
    """
    text: str
    row: str
    key: str
    figure: Callable[[dict], float]
    most: float
    others: tuple = ()
    dtype: str = ''


class Held(NamedTuple):
    """A target and the figure that was measured.

    ``limit`` is what the figure would be if the teacher ran at the speed at which this processor
    multiplies matrices: no kernel does much better.
    """
    group: str
    text: str
    row: str
    key: str
    figure: float
    most: float
    limit: Optional[float]

    @property
    def holds(self) -> bool:
        """As it is printed."""
        return float(number(self.figure)) <= self.most


def number(value: float) -> str:
    return f'{value:.0f}' if value >= 100 else f'{value:.3f}'


def _ratio(name: str, others: tuple, key: str, most: float, text: str, dtype: str = '') -> Target:
    return Target(text, name, key,
                  lambda rows: rows[name][key] / sum(rows[other][key] for other in others),
                  most, others, dtype)


def _beyond(name: str, key: str, most: float, text: str) -> Target:
    return Target(text, name, key, lambda rows: rows[name][key] - rows['student'][key], most,
                  ('student', ))


def _mlp(ours: float, fast: float, fast_of_stock: float) -> List[Target]:
    minimum = ('student', 'connectors and losses')
    return [
        _ratio(OURS, FLOOR, 'seconds', ours, 'time, of the floor', 'float32'),
        _ratio(FAST, FLOOR, 'seconds', fast, 'time with the fast teacher, of the floor',
               FAST_DTYPE),
        _ratio(FAST, (STOCK, ), 'seconds', fast_of_stock,
               "time with the fast teacher, of MMRazor's MGD"),
        _ratio(OURS, (STOCK_MLP, ), 'seconds', 1., 'time, of MMRazor with our connector and loss'),
        _ratio(OURS, minimum, 'saved_mb', 1.03, 'saved for backward, of student + connectors'),
        _ratio(OURS, minimum, 'checkpoint_mb', 1., 'checkpoint, of student + connectors'),
        _ratio(OURS, FLOOR, 'operators', 1., 'operators, of the floor'),
        Target('distillation loss with the fast teacher, relative difference', FAST,
               'distill_loss',
               lambda rows: abs(rows[FAST]['distill_loss'] / rows[OURS]['distill_loss'] - 1),
               .01, (OURS, ))]


def _fcfd(paths: int, time: float, gflop: float, saved: float) -> List[Target]:
    name = f'FCFD, {paths} paths'
    return [_ratio(name, ('student', 'teacher forward'), 'seconds', time,
                   f'{paths} paths: time, of student + teacher'),
            Target(f'{paths} paths: GFLOP a step', name, 'gflop',
                   lambda rows: rows[name]['gflop'], gflop),
            Target(f'{paths} paths: saved for backward, MB', name, 'saved_mb',
                   lambda rows: rows[name]['saved_mb'], saved)]


_FOUR = 'FCFD, 4 paths'


TARGETS: Dict[str, List[Target]] = {
    'cls': _mlp(.95, .80, .75), 'seg': _mlp(.95, .72, .30), 'det': _mlp(1., .80, .80),
    'tffd': [_ratio('Tf-FD', ('student', ), 'seconds', 1.05, 'time, of the plain student'),
             *(_beyond(name, 'operators', 100, f"{name}: operators beyond the plain student's")
               for name in ('Tf-FD, 4 stages', 'Tf-FD, 4 stages, released'))],
    'fcfd': [*_fcfd(2, 2.2, 424, 560), *_fcfd(4, 2.6, 614, 780),
             Target('4 paths: operators a step', _FOUR, 'operators',
                    lambda rows: rows[_FOUR]['operators'], 900),
             _beyond(_FOUR, 'casts', 30, "4 paths: casts beyond the student's")],
    'host': [_ratio(BOTH, (ONE, ), 'seconds', 1.15, f'{BOTH}, of {ONE}'),
             Target(f'{PYTHON}, ms', PYTHON, 'seconds',
                    lambda rows: 1000 * rows[PYTHON]['seconds'], 1.)],
    'start-up': [_ratio(f'{task}: ours', (f"{task}: MMRazor's", ), 'seconds', 1.3,
                        f"{task}: time to the first iteration, of MMRazor's")
                 for task in ('cls', 'seg', 'det')]}


def held_against(results: dict, machine: dict) -> List[Held]:
    """Every target whose rows were run, with what was measured.

    Args:
        results (dict): Group -> row -> figures.
        machine (dict): With 'float32' and 'bfloat16' in GFLOP/s.
    """
    held = []
    for group, rows in results.items():
        for target in TARGETS.get(group, []):
            if not {target.row, *target.others} <= set(rows):
                continue
            limit = None
            if target.dtype:
                floor, teacher = floor_of(rows), rows['teacher forward']
                limit = (floor - teacher['seconds']
                         + teacher['gflop'] / machine[target.dtype]) / floor
            held.append(Held(group, target.text, target.row, target.key, target.figure(rows),
                             target.most, limit))
    return held
