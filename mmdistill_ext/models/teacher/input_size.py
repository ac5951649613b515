"""The size of the images that a teacher sees, where it is not the student's."""
import math
from typing import Any, Optional, Sequence, Tuple, Union

from mmrazor.models.distillers import ConfigurableDistiller
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import ConfigError
from ..utils.dry_run import recorded_places

TeacherSize = Union[float, Sequence[int]]
LARGEST = 4  # times the student's; a larger number is a size in pixels that lacks its second


def check_size(size: Any) -> None:
    """Raise unless ``size`` is a factor or a pair of pixels.

    Args:
        size: What the config says of ``teacher_size``.
    """
    if isinstance(size, (list, tuple)):
        good = len(size) == 2 and all(type(side) is int and side > 0 for side in size)
    else:
        good = type(size) in (int, float) and 0 < size <= LARGEST
    if not good:
        raise ConfigError(f'teacher_size is a factor up to {LARGEST} on the height and width of '
                          f'the batch, or a pair (height, width) in pixels, found {size!r}')


class InputSize:
    """A hook before a backbone's forward that resizes its images (bilinear).

    A hook, so that whatever runs the backbone, the dry run and the tools included, sees one size.

    Args:
        size (float | tuple[int, int]): As ``teacher_size``.
        multiple (int): Of which height and width are after a factor: the size of a patch.
    """

    def __init__(self, size: TeacherSize, multiple: int) -> None:
        self.size = size
        self.multiple = multiple

    def of(self, shape: Sequence[int]) -> Tuple[int, ...]:
        """Height and width for images of height and width ``shape``."""
        if not isinstance(self.size, (int, float)):
            return tuple(self.size)
        # Halves up: Python would round them to even numbers, one axis up and the other down.
        return tuple(max(1, math.floor(side * self.size / self.multiple + .5)) * self.multiple
                     for side in shape)

    def __call__(self, backbone: nn.Module, args: Tuple[Tensor, ...]) -> Optional[tuple]:
        images, *others = args
        size = self.of(images.shape[2:])
        if tuple(images.shape[2:]) == size:
            return None
        return F.interpolate(images, size=size, mode='bilinear', align_corners=False), *others


def set_input_size(teacher: nn.Module, size: TeacherSize) -> None:
    """Let the teacher's backbone see images of another size.

    Args:
        teacher (nn.Module): With a ``backbone``.
        size (float | tuple[int, int]): As ``teacher_size``.
    """
    backbone = getattr(teacher, 'backbone', None)
    if not isinstance(backbone, nn.Module):
        raise ConfigError(f'teacher_size needs a teacher with a backbone, found '
                          f'{type(teacher).__name__}')
    for key, hook in list(backbone._forward_pre_hooks.items()):
        if isinstance(hook, InputSize):  # of another algorithm that had this teacher
            del backbone._forward_pre_hooks[key]
    backbone.register_forward_pre_hook(InputSize(size, patch_size(backbone)))


def patch_size(backbone: nn.Module) -> int:
    """The stride of a vision transformer's first convolution; 1 for other backbones."""
    embed = getattr(backbone, 'patch_embed', None)
    convs = [module for module in embed.modules() if isinstance(module, nn.Conv2d)] \
        if isinstance(embed, nn.Module) else []
    return convs[0].stride[0] if convs else 1


def check_places(distiller: ConfigurableDistiller) -> None:
    """Raise where what is read would not mean the same on images of another size.

    Args:
        distiller (ConfigurableDistiller): Which has seen both networks.
    """
    for place in recorded_places(distiller.teacher_recorders):
        if place.split('.')[0] not in ('backbone', 'neck'):
            raise ConfigError(f'teacher_size: the teacher is read at {place!r}, whose boxes and '
                              "outputs are in pixels of the student's images; expected places in "
                              'its backbone or neck')
    for name, levels in getattr(distiller, 'levels', {}).items():
        steps = [step for level in levels for step in (level.student_steps, level.teacher_steps)]
        if any(step.to_map is not None for step in steps):
            # The grid would be told from the other map's, which is rounded on its own.
            raise ConfigError(f'teacher_size, link {name!r}: tokens cannot become a map where the '
                              'images differ in size; name a module that returns a map (a '
                              "backbone's out_type='featmap')")


class one_line_if_size:
    """Says in one line that a backbone which takes images of one size has got others.

    Args:
        teacher (nn.Module): Which runs inside.
        images (Tensor | list[Tensor]): What it runs on.
    """

    def __init__(self, teacher: nn.Module, images: Any) -> None:
        self.backbone: Any = getattr(teacher, 'backbone', None)
        self.images = images

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        if not isinstance(error, (AssertionError, RuntimeError, ValueError)) \
                or isinstance(error, ConfigError):
            return
        built_for = _built_for(self.backbone)
        if built_for is None or not isinstance(self.images, Tensor):
            return
        seen = tuple(self.images.shape[2:])
        for hook in self.backbone._forward_pre_hooks.values():
            seen = hook.of(seen) if isinstance(hook, InputSize) else seen
        if seen != built_for and self._runs_on(built_for):
            reason = (str(error) or kind.__name__).splitlines()[0]
            raise ConfigError(
                f'the teacher ({type(self.backbone).__name__}, built for images of '
                f'{built_for[0]}x{built_for[1]}) does not run on {seen[0]}x{seen[1]}: {reason}; '
                f'expected teacher_size={built_for}, or a backbone that takes any size') from error

    def _runs_on(self, size: Tuple[int, int]) -> bool:
        """Whether the size is to blame; if not, the error keeps its traceback."""
        try:
            self.backbone.forward(self.images.new_zeros(*self.images.shape[:2], *size))
        except Exception:
            return False
        return True


def _built_for(backbone: Optional[nn.Module]) -> Optional[Tuple[int, int]]:
    size = getattr(backbone, 'img_size', None) or getattr(
        getattr(backbone, 'patch_embed', None), 'init_input_size', None)
    if isinstance(size, int):
        return size, size
    return tuple(size) if size else None  # type: ignore[return-value]
