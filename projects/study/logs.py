"""The logs of runs that are kept in the repository."""
import json
from pathlib import Path

from mmdistill_ext.analysis.runs import read_scalars, write_whole


def keep(work_dir: Path, folder: Path) -> None:
    """Write what a run logged, a line each time, whatever folders mmengine made for it.

    Args:
        work_dir (Path): Of the run; ends in its row and its seed, which name the file.
        folder (Path): In the repository.
    """
    row, run = work_dir.parts[-2:]
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f'{row}-{run.removeprefix("seed-")}.json',
                ''.join(f'{json.dumps(line)}\n' for line in read_scalars(work_dir)))
