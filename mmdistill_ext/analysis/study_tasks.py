"""All tasks of the study."""
from typing import Dict

from .study_cls import CLS, NARROW
from .study_dense import DET, SEG
from .study_rows import Task

TASKS: Dict[str, Task] = dict(cls=CLS, narrow=NARROW, seg=SEG, det=DET)
