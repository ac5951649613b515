from .fcfd_dense import FCFDDense
from .fcfd_distill import FCFDDistill
from .fcfd_online import FCFDOnline
from .fcfd_roi import FCFDRoI
from .fcfd_seg import FCFDSeg
from .fcfd_simkd import FCFDSimKD
from .lean_teacher_distill import LeanTeacherDistill
from .teacher_free_distill import TeacherFreeDistill

__all__ = [
    'FCFDDense', 'FCFDDistill', 'FCFDOnline', 'FCFDRoI', 'FCFDSeg', 'FCFDSimKD',
    'LeanTeacherDistill', 'TeacherFreeDistill'
]
