"""What a config says of a teacher, checked before anything is built."""
from dataclasses import dataclass, fields
from typing import Any, Dict, Optional, Sequence, Union

from mmengine.model import BaseModel

from ...errors import ConfigError
from .build import DTYPES
from .compiled import check_compile
from .input_size import check_size


@dataclass(frozen=True)
class TeacherOptions:
    """The fields of ``LeanTeacherDistill`` that are about the teacher, under the config's names.

    Args:
        teacher_ckpt (str, optional): See ``LeanTeacherDistill``, as for all others.
        random_teacher (bool): Defaults to False.
        teacher_trainable (bool): Defaults to False.
        teacher_norm_eval (bool): Defaults to True.
        teacher_fuse_bn (bool, optional): Defaults to None.
        teacher_channels_last (bool, optional): Defaults to None.
        teacher_dtype (str, optional): Defaults to None.
        teacher_size (float | tuple[int, int], optional): Defaults to None.
        teacher_compile (bool | dict): Defaults to False.
        save_teacher (bool): Defaults to False.
        teacher_module_inplace (bool): Defaults to True.
    """
    teacher_ckpt: Optional[str] = None
    random_teacher: bool = False
    teacher_trainable: bool = False
    teacher_norm_eval: bool = True
    teacher_fuse_bn: Optional[bool] = None
    teacher_channels_last: Optional[bool] = None
    teacher_dtype: Optional[str] = None
    teacher_size: Optional[Union[float, Sequence[int]]] = None
    teacher_compile: Union[bool, dict] = False
    save_teacher: bool = False
    teacher_module_inplace: bool = True

    def __post_init__(self) -> None:
        if self.teacher_dtype is not None and self.teacher_dtype not in DTYPES:
            raise ConfigError(f"teacher_dtype is None, 'bf16' or 'fp16', found "
                              f'{self.teacher_dtype!r}')
        if self.teacher_dtype and self.teacher_trainable:
            raise ConfigError(f'teacher_dtype={self.teacher_dtype!r} is for a frozen teacher, and '
                              "teacher_trainable=True; train both with mmengine's AmpOptimWrapper")
        if self.teacher_size is not None:
            check_size(self.teacher_size)
            if self.teacher_trainable:  # whose boxes would be in pixels of other images
                raise ConfigError(f'teacher_size={self.teacher_size!r} is for a frozen teacher, '
                                  'and teacher_trainable=True')
        check_compile(self.teacher_compile)
        if self.teacher_compile is not False and self.teacher_trainable:
            raise ConfigError(f'teacher_compile={self.teacher_compile!r} is for a frozen teacher, '
                              'and teacher_trainable=True')

    @classmethod
    def take_from(cls, arguments: Dict[str, Any]) -> 'TeacherOptions':
        """Take the fields out of the keyword arguments of an algorithm."""
        return cls(**{field.name: arguments.pop(field.name) for field in fields(cls)
                      if field.name in arguments})

    @property
    def is_saved(self) -> bool:
        """Whether checkpoints hold the teacher: on request, or because it is trained."""
        return self.save_teacher or self.teacher_trainable

    def may_fuse(self, teacher: BaseModel) -> bool:
        """Whether BatchNorm may be folded into the teacher's convolutions.

        Args:
            teacher (BaseModel): Built; weights that ``init_weights`` sets later forbid it.

        Raises:
            ConfigError: ``teacher_fuse_bn=True``, and it may not.
        """
        possible = self.teacher_norm_eval and not self.is_saved and teacher.is_init
        if self.teacher_fuse_bn and not possible:
            raise ConfigError('teacher_fuse_bn=True needs teacher_norm_eval=True, '
                              'teacher_trainable=False, save_teacher=False, and the weights of '
                              'teacher_ckpt, not those of an init_cfg, which are loaded later')
        return possible and self.teacher_fuse_bn is not False
