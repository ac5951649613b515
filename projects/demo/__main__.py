"""Trains a teacher, a student alone and the same student distilled, and writes a report.

    python -m projects.demo cls        # or det, seg

It may be interrupted at any time; started again, it goes on where it was.
"""
import argparse
import signal
import sys
from pathlib import Path
from typing import Any, Dict, Optional

from mmdistill_ext.datasets import SceneSettings, make_data
from mmdistill_ext.datasets.make import MANIFEST
from mmdistill_ext.errors import ConfigError
from projects.demo.report import write_report
from projects.demo.rows import TASKS
from projects.demo.train import RowFailed, train_rows

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


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('task', choices=TASKS)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as Ctrl-C does
    try:
        report = run(args.task, SceneSettings())
    except KeyboardInterrupt:
        print('\nstopped; the same command goes on from here', file=sys.stderr)
        return 130
    except (ConfigError, RowFailed) as error:
        print(error, file=sys.stderr)
        return 2
    print(f'\n{report.read_text()}\n-> {report}, {report.with_suffix(".html")}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
