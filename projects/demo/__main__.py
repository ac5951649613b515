"""Trains a teacher, a student alone and the same student distilled, and writes a report.

    python -m projects.demo cls        # or det, seg

It may be interrupted at any time; started again, it goes on where it was.
"""
import argparse
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from mmdistill_ext.cli import command as cli
from mmdistill_ext.datasets import SceneSettings, make_data
from mmdistill_ext.datasets.make import MANIFEST
from projects.demo.report import write_report
from projects.demo.rows import TASKS
from projects.demo.train import train_rows

DATA = Path('data/digits')  # where the configs look for it


def run(name: str, scenes: SceneSettings, options: Optional[Dict[str, Any]] = None) -> Path:
    """Make the data, train what is not trained, write the report.

    Args:
        name (str): A key of ``TASKS``.
        scenes (SceneSettings): The data set.
        options (dict, optional): Changes to every run's config.
    """
    make_data(DATA, scenes)
    manifest = (DATA / MANIFEST).read_text()
    out = Path(TASKS[name].out)
    results = train_rows(TASKS[name], out, manifest, options)
    return write_report(name, out, results, manifest)


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('task', choices=TASKS)
    report = run(parser.parse_args(argv).task, SceneSettings())
    print(f'\n{report.read_text()}\n-> {report}, {report.with_suffix(".html")}')


if __name__ == '__main__':
    cli.main(main, resumable=True)
