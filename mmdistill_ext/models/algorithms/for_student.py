"""What an algorithm does in its student's place, for tools that know of plain models alone."""
from itertools import chain
from typing import Any

from mmengine.model import BaseModel
from mmrazor.models.algorithms.base import BaseAlgorithm

from ...checkpoints.student import PREFIX
from ...errors import ConfigError, one_of_types
from ..teacher.preprocessor import say_if_raw
from ..utils.memory_format import student_in_channels_last

# What hooks look for in a model: mmdet's YOLOXModeSwitchHook, mmpretrain's SwitchRecipeHook and
# margin hooks. Not the backbone: by it mmdet's and mmseg's layer-wise decay would go on, and count
# layers by names that are others here.
HEADS = ('bbox_head', 'head')


class ForStudent:
    """Gives the student's head to hooks, and the depth of its layers to layer-wise decay."""

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)  # type: ignore[misc]
        except AttributeError:
            if name not in (*HEADS, 'get_layer_depth'):
                raise
        found = getattr(super().__getattr__('architecture'), name)  # type: ignore[misc]
        if name in HEADS:
            return found
        # What stands beside the student has no depth, which mmpretrain takes for the top.
        return lambda weight: found(weight.removeprefix(PREFIX))


def check_kinds(distiller: Any, architecture: Any) -> None:
    """Raise where a config has a name for a dict, before MMRazor makes a traceback of it."""
    one_of_types('distiller', distiller, dict)
    one_of_types('architecture', architecture, dict, BaseModel)


def prepare(algorithm: BaseAlgorithm, channels_last: bool) -> None:
    """What every algorithm does once its student is built.

    Args:
        algorithm (BaseAlgorithm): With its student and the student's data preprocessor.
        channels_last (bool): Whether the student runs in the channels_last memory format.
    """
    student_in_channels_last(algorithm.architecture, channels_last)
    say_if_raw(algorithm.data_preprocessor)
    algorithm._register_load_state_dict_pre_hook(refuse_other_names, with_module=True)


def refuse_other_names(module: BaseAlgorithm, state_dict: dict, prefix: str, *_: Any) -> None:
    """mmengine goes on where nothing of a checkpoint fits, as of one of the student alone."""
    keys = [key.removeprefix(prefix) for key in state_dict if key.startswith(prefix)]
    own = {name for name, _ in chain(module.named_parameters(), module.named_buffers())}
    if keys and not own & {*keys}:
        raise ConfigError(
            f'load_from: {type(module).__name__} has its student under {PREFIX!r}, and the '
            f'checkpoint has {keys[0]!r}; for weights of the student alone: load_from=None, '
            "architecture=dict(..., init_cfg=dict(type='Pretrained', checkpoint=...))")
