"""The logs of runs that are kept in the repository."""
import json
from pathlib import Path

from mmdistill_ext.analysis.runs import read_scalars, write_whole


def keep(work_dir: Path, path: Path) -> None:
    """Write what a run logged, a line each time, whatever folders mmengine made for it.

    Args:
        work_dir (Path): Of the run.
        path (Path): The file in the repository.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, ''.join(f'{json.dumps(line)}\n' for line in read_scalars(work_dir)))
