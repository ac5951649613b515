"""What the study compares: for each row how it changes the config of the student alone.

A row has one number to choose. Every row of a task has as many values of it, three times apart,
around its recipe's; which one is taken is decided on the tune split.
"""
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple, Union

from .data import Public, Scenes

CONFIGS = Path(__file__).parent / 'configs'
Changes = Callable[[float], Dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Args:
        title (str): Its name on the page.
        changes (Callable): The chosen number -> changes to the config. 'model' is an algorithm
            around the student; all others are keys of ``Config.merge_from_dict``.
        values (tuple[float]): What the number is chosen from; none where there is nothing to.
        teacher (str, optional): The row it learns from, and that network's name in the config.
        paper (str): What its paper reports.
        like (str, optional): The row whose number it takes.
        alone (str): The row that its gain is counted from.
    """
    title: str
    changes: Changes
    values: Tuple[float, ...] = ()
    teacher: Optional[str] = None
    paper: str = ''
    like: Optional[str] = None
    alone: str = 'student'


@dataclass(frozen=True)
class Task:
    """One table.

    Args:
        title (str): On the page.
        metric (str): What mmengine's validation calls the metric.
        metric_name (str): What the page calls it.
        scale (float): What the metric is multiplied with to be out of 100.
        data (Scenes | Public): What it is trained and judged on.
        teachers (dict): Rows that others learn from; one seed.
        rows (dict): Name -> row. The order is that of the work: what matters most comes first.
        tune_seeds (tuple[int]): Of the runs that a number is chosen by; of none that figures are
            made of, which count from 0.
        seeds (int): How many runs make a figure; none is shown before. Defaults to 5.
        pairs (tuple[tuple[str, str]]): Rows that the page compares with each other too.
    """
    title: str
    metric: str
    metric_name: str
    scale: float
    data: Union[Scenes, Public]
    teachers: Dict[str, Row]
    rows: Dict[str, Row]
    tune_seeds: Tuple[int, ...] = (100, )
    seeds: int = 5
    pairs: Tuple[Tuple[str, str], ...] = ()


# The channel paper's order: the more a transform can do, the better.
TRANSFORMS = (('mlp', 'linear'), ('linear', 'identity'), ('mlp', 'identity'))


def thirds(middle: float) -> Tuple[float, ...]:
    """Four values, three times apart, from a third of ``middle`` to nine times."""
    return tuple(float(f'{middle * factor:.1g}') for factor in (1 / 3, 1, 3, 9))


def decay(weight: float) -> Dict[str, Any]:
    """The student alone; the number is its weight decay."""
    return {'optim_wrapper.optimizer.weight_decay': weight}


def feature(place: str, connector: Any, loss: Dict[str, Any]) -> Dict[str, Any]:
    """An algorithm with one link between student and teacher."""
    return dict(type='LeanTeacherDistill', distiller=dict(type='LinkDistiller', links=dict(
        loss_feature=dict(student=place, teacher=place, connector=connector, loss=loss))))


def transform(place: str, connector: str, **options: Any) -> Changes:
    """The channel paper's loss with one of its transforms; the number is alpha."""
    return lambda alpha: dict(model=feature(
        place, dict(type=connector, **options), dict(type='FeatureL2Loss', loss_weight=alpha)))


def mgd(place: str) -> Changes:
    """MMRazor's MGD; the number is its alpha."""
    return lambda alpha: dict(model=feature(
        place, dict(type='MGDConnector', lambda_mgd=.65), dict(type='MGDLoss', alpha_mgd=alpha)))


def teacher_free(places: Tuple[str, ...], intra: float = 8e-4, inter: float = 5e-4,
                 logits: Optional[str] = None, **loss: Any) -> Changes:
    """Tf-FD; the number multiplies both of its weights. ``loss`` goes to both losses."""
    def changes(factor: float) -> Dict[str, Any]:
        links = {}
        if intra:
            links['loss_intra'] = dict(student=list(places), loss=dict(
                type='TfFDIntraLoss', loss_weight=factor * intra, **loss))
        if inter:
            links['loss_inter'] = dict(student=list(places), loss=dict(
                type='TfFDInterLoss', loss_weight=factor * inter, **loss))
        if logits:
            links['loss_kd'] = dict(
                student=logits, teacher=logits, loss=dict(type='KLDivergence', tau=4))
        return dict(model=dict(
            type='LeanTeacherDistill' if logits else 'TeacherFreeDistill',
            distiller=dict(type='LinkDistiller', links=links)))
    return changes


def options(**keys: Any) -> Changes:
    """Changes that have nothing to do with the number; ``__`` stands for a dot."""
    return lambda _: {key.replace('__', '.'): value for key, value in keys.items()}


def epochs(number: int) -> Dict[str, Any]:
    """A schedule for :func:`options` and :func:`longer`, judged six times on its way."""
    return dict(train_cfg__max_epochs=number, train_cfg__val_interval=number // 6)


def longer(name: str, row: Row, how: str, alone: str, **keys: Any) -> Row:
    """A row that trains longer, with the number that it had.

    Args:
        name (str): The row's name.
        row (Row): The row.
        how (str): How much longer, for the title.
        alone (str): The student alone that trains as long.
        keys: Changes to the schedule, as in :func:`options`.
    """
    schedule = options(**keys)
    return Row(f'{row.title}, {how}', lambda value: {**row.changes(value), **schedule(value)},
               teacher=row.teacher, like=name, alone=alone)
