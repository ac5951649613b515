"""What the runs on CIFAR-100 gave: read, recorded, and put into the pages.

Every run leaves ``result.json`` in its folder. All of them stand in docs/results_cifar100.json,
from which the study goes on on another machine; their logs and the best students are in
docs/results/cifar100, and the table is in docs/results.md.
"""
import fcntl
import functools
import json
from pathlib import Path
from typing import IO, Any, Dict, List

import yaml

from mmdistill_ext.analysis.runs import last_checkpoint, write_whole
from mmdistill_ext.checkpoints import student
from projects.study import logs, real_page
from projects.study.real_rows import EPOCHS, ROWS, Run, config_of, made_of

OUT, RECORD = Path('work_dirs/study/cifar100'), Path('docs/results_cifar100.json')
LOGS, PAGE, README = Path('docs/results/cifar100'), Path('docs/results.md'), Path('README.md')
PUBLISHED = ('student', 'fcfd')  # rows of which a checkpoint is in the repository
Results = Dict[str, Dict[str, Any]]  # 'row/seed-0' -> what the run left


@functools.lru_cache(None)
def recipe_of(run: Run) -> str:
    """What a result of this run would be made of today."""
    return made_of(config_of(run, OUT))


def fits(run: Run, result: Dict[str, Any]) -> bool:
    return bool(result.get('made_of') == recipe_of(run))


def here(out: Path = OUT) -> Results:
    """What has been run in this folder and fits the recipes of today."""
    return _fitting({str(path.parent.relative_to(out)): json.loads(path.read_text())
                     for path in sorted(out.glob('*/*/result.json'))})


def results(out: Path = OUT) -> Results:
    """What need not be run into this folder: what is there, and into ``OUT`` what is recorded."""
    recorded = json.loads(RECORD.read_text()) if out == OUT and RECORD.is_file() else {}
    return {**_fitting(recorded), **here(out)}


def _fitting(found: Results) -> Results:
    return {key: result for key, result in found.items() if result.get('row') in ROWS and fits(
        Run(**{name: result[name] for name in Run._fields if name in result}), result)}


def lock(path: Path, wait: bool = True) -> IO:
    """Hold a file until it is closed, here and in the processes that it was handed to.

    Args:
        path (Path): The file.
        wait (bool): Defaults to True: for whoever holds it now. Else that is a BlockingIOError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, 'w')
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.close()
        raise
    return file


def gather() -> None:
    """All results in one file, a line each, the log of each run that was made here, the page."""
    with lock(OUT / 'lock'):  # two that end at once would write over each other
        found = results()
        lines = [f'"{name}": {json.dumps(result)}' for name, result in sorted(found.items())]
        write_whole(RECORD, '{\n' + ',\n'.join(lines) + '\n}\n')
        for name in here():
            logs.keep(OUT / name, LOGS)
        for row in PUBLISHED:
            publish(row, found)
        models = yaml.safe_dump(dict(Models=published(found)), sort_keys=False)
        write_whole(LOGS / 'metafile.yml', models)
        real_page.write(found, PAGE, README)


def publish(row: str, found: Results) -> None:
    """Keep the student of the best run whose checkpoint is at hand, without optimizer and teacher.

    Args:
        row (str): A key of ``ROWS``.
        found (dict[str, dict]): All results.
    """
    for path in LOGS.glob(f'{row}-*.pth'):
        if _result_of(path) not in found:
            path.unlink()  # of a recipe that has changed since
    runs = [result for key, result in found.items() if key.startswith(f'{row}/seed-')]
    for result in sorted(runs, key=lambda result: -result['last']):
        path = LOGS / f'{row}-{result["seed"]}.pth'
        checkpoint = last_checkpoint(OUT / row / f'seed-{result["seed"]}')
        if checkpoint and not path.is_file():
            for worse in LOGS.glob(f'{row}-*.pth'):
                worse.unlink()
            student.write(student.load(str(checkpoint)), str(path))
        if path.is_file():
            break  # of a run on another machine, or just written


def _result_of(path: Path) -> str:
    """The result of a checkpoint in the repository."""
    return path.stem.replace('-', '/seed-')


def published(found: Results) -> List[dict]:
    """The checkpoints that are kept, each with its figure, as OpenMMLab's metafiles have them."""
    models = []
    for row in PUBLISHED:
        for path in sorted(LOGS.glob(f'{row}-*.pth')):
            figure = round(found[_result_of(path)]['last'], 2)
            seeds = len(real_page.figures_of(found, row))
            models.append(dict(
                Name=path.stem, Config='projects/study/configs/cifar100.py',
                Metadata=dict(Row=ROWS[row].title, Recipe=ROWS[row].recipe, Epochs=EPOCHS,
                              Chosen=f'the best of {seeds} seeds on the test images'),
                Results=[dict(Task='Image Classification', Dataset='CIFAR-100',
                              Metrics={'Top 1 Accuracy': figure})],
                Weights=str(path)))
    return models
