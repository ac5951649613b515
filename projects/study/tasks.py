"""All tasks of the study."""
from typing import Dict

from .rows import Task
from .rows_cls import CLS, NARROW
from .rows_dense import DET, SEG

TASKS: Dict[str, Task] = dict(cls=CLS, narrow=NARROW, seg=SEG, det=DET)
