"""The demo's report: a table, learning curves, and pictures with predictions."""
import json
import os
from pathlib import Path
from typing import Dict, List

import torch
from mmengine.registry import DATASETS, init_default_scope

from .demo_pictures import draw_curves, draw_predictions
from .demo_rows import TASKS
from .demo_train import load_config
from .runs import count_parameters, load_student


def write_report(name: str, out: Path, results: Dict[str, dict], manifest: str) -> Path:
    """Write ``report.md`` and its pictures.

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
    draw_curves({row: [(epoch, task.scale * value) for epoch, value in result['curve']]
                 for row, result in results.items()}, task.metric_name, out / 'curves.png')

    data = json.loads(manifest)
    lines = [
        f'# Demo: {task.title}', '',
        f'{data["train"]} training scenes, {data["val"]} for the {task.metric_name} below, '
        f'torch {torch.__version__}, {os.cpu_count()} cores. One run each: a difference of a point '
        'or two may be chance.', '',
        *_table(results, {row: count_parameters(model) for row, model in models.items()},
                task.metric_name, task.scale), '',
        '![learning curves](curves.png)', '', '![predictions](predictions.png)', '']
    report = out / 'report.md'
    report.write_text('\n'.join(lines))
    return report


def _table(results: Dict[str, dict], parameters: Dict[str, int], metric: str,
           scale: float) -> List[str]:
    alone = results['student']['value']
    lines = [f'| run | {metric} | gain | epochs | seconds per step | parameters |',
             '|---|---|---|---|---|---|']
    for row, result in results.items():
        value, epochs = scale * result['value'], result['curve'][-1][0]
        gain = '' if row in ('teacher', 'student') else f'{value - scale * alone:+.1f}'
        lines.append(f'| {row} | {value:.1f} | {gain} | {epochs} | {result["step"]:.3f} | '
                     f'{parameters[row]:,} |')
    return lines
