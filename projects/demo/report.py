"""The demo's report: a table, learning curves, and pictures with predictions."""
import json
import os
from pathlib import Path
from typing import Dict

import torch
from mmengine.registry import DATASETS, init_default_scope

from mmdistill_ext.analysis import curves, report_page
from mmdistill_ext.analysis.report_page import Curves, Picture, Section
from mmdistill_ext.analysis.runs import count_parameters, load_student
from mmdistill_ext.analysis.tables import Table

from .pictures import draw_predictions
from .rows import TASKS
from .train import load_config


def write_report(name: str, out: Path, results: Dict[str, dict], manifest: str) -> Path:
    """Write ``report.md``, its pictures, and the same as one page, ``report.html``.

    Args:
        name (str): A key of ``TASKS``.
        out (Path): Work_dir of the demo.
        results (dict[str, dict]): What :func:`train_rows` returned.
        manifest (str): What the data set is made of.
    """
    task = TASKS[name]
    configs = {row.name: load_config(row, {}) for row in task.rows if row.name in results}
    config = configs['teacher']
    init_default_scope(config.default_scope)
    models = {row: load_student(configs[row], result['checkpoint'])
              for row, result in results.items()}
    dataset = DATASETS.build(config.val_dataloader.dataset)
    draw_predictions(name, models, dataset, out / 'predictions.png')
    lines = Curves({row: [(epoch, task.scale * value) for epoch, value in result['curve']]
                    for row, result in results.items()}, task.metric_name, 'epoch')
    curves.draw(*lines, out / 'curves.png')

    data = json.loads(manifest)
    title = f'Demo: {task.title}'
    text = (f'{data["train"]} training scenes, {data["val"]} for the {task.metric_name} below, '
            f'torch {torch.__version__}, {os.cpu_count()} cores. One run each: a difference of a '
            'point or two may be chance.')
    table = _table(results, {row: count_parameters(model) for row, model in models.items()},
                   task.metric_name, task.scale)
    report = out / 'report.md'
    report.write_text('\n'.join([
        f'# {title}', '', text, '', table.markdown(), '', '![learning curves](curves.png)', '',
        '![predictions](predictions.png)', '']))
    seen = Picture(out / 'predictions.png', 'predictions for validation pictures')
    (out / 'report.html').write_text(report_page.render(
        title, [Section('', text, table, lines, [seen])]))
    return report


def _table(results: Dict[str, dict], parameters: Dict[str, int], metric: str,
           scale: float) -> Table:
    alone = results['student']['value']
    rows = []
    for row, result in results.items():
        value, epochs = scale * result['value'], result['curve'][-1][0]
        gain = '' if row in ('teacher', 'student') else f'{value - scale * alone:+.1f}'
        rows.append([row, f'{value:.1f}', gain, epochs, f'{result["step"]:.3f}',
                     f'{parameters[row]:,}'])
    return Table(['run', metric, 'gain', 'epochs', 'seconds per step', 'parameters'], rows)
