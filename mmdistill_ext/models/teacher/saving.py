"""What a checkpoint of student and teacher holds of the teacher."""
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..algorithms import LeanTeacherDistill


def without_teacher(module: 'LeanTeacherDistill', state_dict: dict, prefix: str, _) -> None:
    """A checkpoint holds of a frozen teacher at most the running statistics that move."""
    if module.save_teacher:
        return
    moving = () if module.teacher_norm_eval else ('running_mean', 'running_var',
                                                  'num_batches_tracked')
    for key in list(state_dict):
        if key.startswith(f'{prefix}teacher.') and key.rsplit('.', 1)[-1] not in moving:
            del state_dict[key]


def own_teacher(module: 'LeanTeacherDistill', state_dict: dict, prefix: str, *_) -> None:
    """What a checkpoint lacks of the teacher is not missing: it came from ``teacher_ckpt``."""
    without_teacher(module, state_dict, prefix, None)  # MMRazor's checkpoints hold it, unfused
    for key, value in module.teacher.state_dict().items():
        state_dict.setdefault(f'{prefix}teacher.{key}', value)
