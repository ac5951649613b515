from .fcfd_distill import FCFDDistill
from .fcfd_online import FCFDOnline
from .fcfd_simkd import FCFDSimKD
from .lean_teacher_distill import LeanTeacherDistill
from .teacher_free_distill import TeacherFreeDistill

__all__ = ['FCFDDistill', 'FCFDOnline', 'FCFDSimKD', 'LeanTeacherDistill', 'TeacherFreeDistill']
