"""What a user writes as a link, checked and put into one form."""
from dataclasses import dataclass
from typing import Any, Optional, Sequence, Tuple, Union

from mmengine.config import ConfigDict

from ...errors import ConfigError, nearest
from ..losses.build import check_weight

FIELDS = ('student', 'teacher', 'connector', 'loss', 'resize')


@dataclass(frozen=True)
class Link:
    """One place in the student, one in the teacher, the transform and the loss between them.

    The user's words only; what they resolve to in two models is a list of ``Level``.

    Args:
        name (str): The name of the loss in the log. Contains "loss".
        student (tuple[str, ...]): Module names in the student.
        teacher (tuple[str, ...]): Module names in the teacher; empty for self-distillation.
        loss (dict): Config of the loss.
        connector (dict, optional): Config of the transform of the student's feature.
        resize (bool): Whether a student map is resized to the teacher's. Defaults to False.
    """
    name: str
    student: Tuple[str, ...]
    teacher: Tuple[str, ...]
    loss: dict
    connector: Optional[dict] = None
    resize: bool = False

    @classmethod
    def from_config(cls, name: str, config: dict) -> 'Link':
        """Check the fields of one entry of ``links``."""
        if not isinstance(name, str) or '.' in name:
            raise ConfigError(f'link {name!r}: a name is a string without a dot, because '
                              'torch does not allow one in the name of a module')
        if 'loss' not in name:
            raise ConfigError(f"link {name!r}: the name must contain 'loss', else mmengine logs it "
                              f"without training on it; try 'loss_{name}'")
        if not isinstance(config, dict):
            raise ConfigError(f'link {name!r}: expected a dict with {", ".join(FIELDS)}, '
                              f'found {type(config).__name__} {config!r}')
        for key in config:
            if key not in FIELDS:
                raise ConfigError(f'link {name!r}: unknown field {key!r}; '
                                  f'{nearest(str(key), FIELDS)}')
        for key in ('student', 'loss'):
            if not config.get(key):
                raise ConfigError(f'link {name!r}: the field {key!r} is missing')
        link = cls(name, _places(name, 'student', config['student']),
                   _places(name, 'teacher', config.get('teacher') or ()),
                   _typed(name, 'loss', config['loss']),
                   _typed(name, 'connector', config['connector'])
                   if config.get('connector') is not None else None,
                   config.get('resize', False))
        if not isinstance(link.resize, bool):
            raise ConfigError(f"link {name!r}: 'resize' is True or False, found {link.resize!r}")
        if not link.teacher and (link.connector or link.resize):
            raise ConfigError(f"link {name!r}: 'connector' and 'resize' need the field 'teacher'")
        return link


def _places(name: str, side: str, places: Union[str, Sequence[str]]) -> Tuple[str, ...]:
    names: Tuple[Any, ...] = tuple(places) if isinstance(places, (list, tuple)) else (places, )
    for place in names:
        if not isinstance(place, str):
            raise ConfigError(f'link {name!r}: {side!r} expected module names, found {place!r}')
        if names.count(place) > 1:
            raise ConfigError(f'link {name!r}: {side!r} contains {place!r} twice')
    return names


def _typed(name: str, key: str, config: Union[str, dict]) -> dict:
    if isinstance(config, str):
        config = dict(type=config)
    if not isinstance(config, dict) or not (
            isinstance(config.get('type'), str) or callable(config.get('type'))):
        raise ConfigError(f"link {name!r}: {key!r} is a name or a dict with 'type', "
                          f'found {config!r}')
    check_weight(f'link {name!r}', config)
    return ConfigDict(config)
