from .lean_teacher_distill import LeanTeacherDistill
from .teacher_free_distill import TeacherFreeDistill

__all__ = ['LeanTeacherDistill', 'TeacherFreeDistill']
