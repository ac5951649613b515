"""Inheriting: a student whose neck and head start from the teacher's weights."""
from typing import Sequence

from mmengine.logging import print_log
from torch import nn

from ...errors import ConfigError
from ..utils.dry_run import get_module


class Inheritance:
    """Copies weights from teacher to student where names and shapes agree.

    Args:
        names (Sequence[str]): Modules of the student, such as 'neck'.
        student (nn.Module): Who inherits.
        teacher (nn.Module): Whom from. Read now, before anything is fused or cast.
    """

    def __init__(self, names: Sequence[str], student: nn.Module, teacher: nn.Module) -> None:
        self.student = (student,)  # a tuple: not a submodule, and not a second owner
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, (list, tuple)):
            raise ConfigError(f'inherit is a list of modules of the student, found {names!r}')
        for name in names:
            get_module(student, name, 'inherit, student')
            get_module(teacher, name, 'inherit, teacher')
        theirs, own = teacher.state_dict(), student.state_dict()
        asked = [key for key in own if key.startswith(tuple(f'{name}.' for name in names))]
        self.taken = {key: theirs[key].clone() for key in asked
                      if key in theirs and theirs[key].shape == own[key].shape}
        self.left = [key for key in asked if key not in self.taken]
        if names and not self.taken:
            raise ConfigError(f'inherit: nothing in {", ".join(names)} of the student has the name '
                              'and shape of something in the teacher')

    def apply(self) -> None:
        """Copy, log what was and what was not taken, and let go of the teacher's tensors."""
        if not self.taken:
            return
        student = self.student[0]
        student.load_state_dict(self.taken, strict=False)
        print_log(f'inherited {len(self.taken)} tensors from the teacher: '
                  f'{", ".join(self.taken)}; not taken (other name or shape): '
                  f'{", ".join(self.left) or "none"}', logger='current')
        self.taken = {}
