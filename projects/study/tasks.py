"""All tasks of the study, by the data that they are on."""
from pathlib import Path
from typing import Dict, NamedTuple, Optional

from . import rows_public
from .rows import Task
from .rows_cls import CLS, NARROW
from .rows_dense import DET, SEG

RESULTS = Path('docs/results.md')


class Study(NamedTuple):
    """Tasks whose tables stand together on the page.

    Args:
        marker (str): Between which the page has them.
        picture (str): Of their gains, as the page names it.
        record (Path): All figures.
        tasks (dict[str, Task]): Name of its config -> task.
        logs (Path, optional): Where the log of each run is kept.
        page (Path): Where the tables stand.
    """
    marker: str
    picture: str
    record: Path
    tasks: Dict[str, Task]
    logs: Optional[Path] = None
    page: Path = RESULTS


STUDIES = dict(
    embedded=Study('study', 'images/results.png', Path('docs/results.json'),
                   dict(cls=CLS, narrow=NARROW, seg=SEG, det=DET),
                   page=Path('docs/embedded.md')),
    camvid=Study('camvid', 'images/results_camvid.png', Path('docs/results_camvid.json'),
                 dict(camvid=rows_public.SEG), Path('docs/results/camvid')),
    voc2007=Study('voc2007', 'images/results_voc2007.png', Path('docs/results_voc2007.json'),
                  dict(voc2007=rows_public.DET), Path('docs/results/voc2007')))
