"""The demo's runs. A method joins by a config beside this file and an entry here."""
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Tuple

CONFIGS = Path(__file__).parent / 'configs'


@dataclass(frozen=True)
class Row:
    """One run of the demo.

    Args:
        name (str): Its folder below the demo's work_dir, and its name in the report.
        config (str): Its config, in ``projects/demo/configs``.
        needs_teacher (bool): Whether its ``model.teacher_ckpt`` is the demo's teacher.
    """
    name: str
    config: str
    needs_teacher: bool = True


@dataclass(frozen=True)
class Task:
    """What the demo of one task shows.

    Args:
        title (str): In the report.
        metric (str): What mmengine's validation calls the metric.
        metric_name (str): What the report calls it.
        scale (float): What the metric is multiplied with to be out of 100.
        out (str): The work_dir of the demo.
        rows (tuple[Row]): The teacher first, then the student alone, then the distilled ones.
    """
    title: str
    metric: str
    metric_name: str
    scale: float
    out: str
    rows: Tuple[Row, ...]


TASKS: Dict[str, Task] = dict(
    cls=Task('classification', 'accuracy/top1', 'accuracy', 1, 'work_dirs/demo', (
        Row('teacher', 'cls_teacher.py', needs_teacher=False),
        Row('student', 'cls_student.py', needs_teacher=False),
        Row('mlp', 'cls_mlp.py'),
        Row('tffd', 'cls_tffd.py', needs_teacher=False),
        Row('tffd_logits', 'cls_tffd_logits.py'),
        Row('fcfd', 'cls_fcfd.py'))),
    det=Task('detection', 'coco/bbox_mAP', 'mAP', 100, 'work_dirs/demo_det', (
        Row('teacher', 'det_teacher.py', needs_teacher=False),
        Row('student', 'det_student.py', needs_teacher=False),
        Row('mlp', 'det_mlp.py'),
        Row('fcfd', 'det_fcfd.py'))),
    seg=Task('segmentation', 'mIoU', 'mIoU', 1, 'work_dirs/demo_seg', (
        Row('teacher', 'seg_teacher.py', needs_teacher=False),
        Row('student', 'seg_student.py', needs_teacher=False),
        Row('mlp', 'seg_mlp.py'),
        Row('tffd', 'seg_tffd.py', needs_teacher=False),
        Row('fcfd', 'seg_fcfd.py'))))
