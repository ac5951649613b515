"""Which weight a loss has in the config, and which one to use instead."""
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Union

from mmengine.config import Config

from . import figures
from .tables import Table

if TYPE_CHECKING:
    from .loss_pulls import Pull

FAR = 10.  # a gradient so many times larger or smaller than the task's is worth a warning


def field_of(loss: str, model: dict) -> str:
    """The field of the config that holds the weight of a loss.

    Args:
        loss (str): Its name in the log.
        model (dict): The config of the algorithm.
    """
    side, _, name = loss.partition('.')
    distiller = model.get('distiller') or {}
    if side == 'distill':
        if name in distiller.get('links', {}):
            return f'model.distiller.links.{name}.loss'
        return f'model.distiller.distill_losses.{name}'
    if name in ('loss_kd', 'loss_teacher_kd', 'loss_app'):
        return f'model.{name}'
    if re.fullmatch(r'loss_(s2t|t2s)_\d+_kl', name):
        return 'model.loss_func_kl'
    if re.fullmatch(r'loss_((s2t|t2s)_\d+_l2|app_\w+)', name):
        return 'model.loss_mse'
    return 'model.loss_func'  # of FCFD's heads: all terms of their outputs


def loss_at(field: str, cfg: Config) -> Union[dict, str, None]:
    """The config of a loss; None if the config leaves the default."""
    part: Any = cfg.to_dict()
    for key in field.split('.'):
        part = part.get(key) if isinstance(part, dict) else None
    return part


def table(found: Dict[str, 'Pull']) -> Table:
    """A row for each loss."""
    return Table(('loss', 'size', 'gradient', "task's gradient", 'ratio'),
                 [(name, *pull, pull.ratio) for name, pull in found.items()
                  if not name.startswith('model.')])


def advice(found: Dict[str, 'Pull'], cfg: Config) -> List[str]:
    """For each field with a weight: the factor to the task's size, and the option to paste."""
    lines = []
    for field, pull in found.items():
        if not field.startswith('model.'):
            continue
        if not pull.ratio:
            lines.append(f'{field}: gives the student no gradient where the task does')
            continue
        far = '' if 1 / FAR <= pull.ratio <= FAR else (
            f' WARNING: {pull.ratio:.3g} times the task\'s, '
            f'{"it drowns the task" if pull.ratio > 1 else "it hardly teaches"};')
        lines.append(f'{field}:{far} times {1 / pull.ratio:.3g} would be the size of the task\'s: '
                     f'{_option(field, loss_at(field, cfg), pull.ratio)}')
    return lines


def _option(field: str, loss: Union[dict, str, None], ratio: float) -> str:
    if isinstance(loss, str):  # loss='FeatureL2Loss', which has no place for a weight
        return f"write loss=dict(type='{loss}', loss_weight={1 / ratio:.3g})"
    return f'--cfg-options {field}.loss_weight={(loss or {}).get("loss_weight", 1.) / ratio:.3g}'


def draw(found: Dict[str, 'Pull'], path: Path) -> None:
    """The ratios as bars, in steps of ten."""
    rows = [(name, pull.ratio) for name, pull in found.items()
            if not name.startswith('model.') and pull.ratio]
    figure = figures.new(7, 1.2 + .3 * len(rows))
    axes = figure.subplots()
    axes.barh([name for name, _ in rows], [ratio for _, ratio in rows], color=figures.BLUE)
    axes.set_xscale('log')
    axes.axvline(1, color=figures.GREY, linestyle='--')
    axes.invert_yaxis()
    axes.set_xlabel("gradient on the student, divided by that of the student's own losses")
    figures.save(figure, path)
