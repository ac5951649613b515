"""Tells a user's mistake, which is said in one line, from a bug of ours, which keeps its traceback.

:class:`ConfigError` is ours. The rest are the errors that mmengine, the task libraries and the
system raise for what is wrong in a config; nothing of what they find out is computed twice.
"""
import difflib
import inspect
import re
import traceback
from pathlib import Path
from types import FrameType, TracebackType
from typing import Iterator, List, Optional
from urllib.error import URLError

from ..errors import ConfigError, NumbersError, nearest

OURS = Path(__file__).parents[1]
# Where MMRazor checks its form of a distiller, and mmdet and mmseg decay the learning rate.
DISTILLER = 'distillers/configurable_distiller.py'
LAYER_DECAY = 'optimizers/layer_decay_optimizer_constructor.py'
EXIT_CODE = 2


def _frames(trace: Optional[TracebackType]) -> List[FrameType]:
    return [frame for frame, _ in traceback.walk_tb(trace)]


def _registered(registry) -> Iterator[str]:
    """Every name that a ``type`` can have: from here without, from sister scopes with a prefix."""
    yield from registry.module_dict
    top = registry
    while top.parent is not None:
        top = top.parent
        yield from top.module_dict
    for scope, child in top.children.items():
        if child is not registry:
            yield from (f'{scope}.{name}' for name in child.module_dict)


def _unknown_type(frames: List[FrameType]) -> Optional[str]:
    for frame in reversed(frames):
        values = frame.f_locals
        if frame.f_code.co_name == 'build_from_cfg' and isinstance(values.get('obj_type'), str):
            name, registry = values['obj_type'], values['registry']
            full = {known.split('.')[-1]: known for known in reversed(list(_registered(registry)))}
            close = difflib.get_close_matches(name.split('.')[-1], full, cutoff=.5)
            hint = (f'did you mean {" or ".join(repr(full[c]) for c in close)}?' if close else
                    f'none of the {len(full)} registered names is close')
            return f'type {name!r} is not in the {registry.scope}::{registry.name} registry; {hint}'
    return None


def _wrong_argument(message: str, frames: List[FrameType]) -> Optional[str]:
    builders = [f for f in frames if f.f_code.co_name == 'build_from_cfg']
    if not builders or not re.search(r'__init__\(\) (got an unexpected|missing \d+ req)', message):
        return None
    unknown = re.search(r"unexpected keyword argument '(\w+)'", message)
    build = builders[-1].f_locals['obj_cls']
    if unknown:
        kinds = [cls for cls in inspect.getmro(build) if cls is not object]
        # Arguments that a class takes as the fields of an object of options.
        kinds += getattr(build, 'option_types', ())
        known = [name for cls in kinds
                 for name in inspect.signature(vars(cls).get('__init__', cls)).parameters
                 if name not in ('self', 'args', 'kwargs')]
        return f'{build.__name__} has no argument {unknown[1]!r}; {nearest(unknown[1], known)}'
    return message.replace('.__init__()', '')


def _not_downloaded(error: URLError, frames: List[FrameType]) -> str:
    """What was to be downloaded, and where it would be found if it were there."""
    for values in (frame.f_locals for frame in reversed(frames)):
        if 'url' in values and 'dst' in values:  # of mmpretrain's data sets and torch.hub
            return (f'{values["url"]} cannot be downloaded ({error.reason}); without a network '
                    f'put the file at {values["dst"]} yourself')
    return f'a download failed: {error.reason}'


def one_line_message(error: BaseException) -> Optional[str]:
    """The one line that a user's mistake deserves, or None for everything else."""
    frames = _frames(error.__traceback__)
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    last = Path(frames[-1].f_code.co_filename) if frames else Path()
    # checkpoints/load.py opens what the user names: a file missing there is the user's mistake.
    ours = OURS in last.parents and last.parts[-2:] != ('checkpoints', 'load.py')
    line: Optional[str] = None
    if isinstance(error, (ConfigError, NumbersError)):
        line = message
    elif isinstance(error, KeyError) and ' registry. ' in message:
        line = _unknown_type(frames)
    elif isinstance(error, KeyError) and 'must contain the key "type"' in message:
        cfg = next(f.f_locals['cfg'] for f in reversed(frames)
                   if f.f_code.co_name == 'build_from_cfg')
        line = f'a part of the config has no type: {dict(cfg)}'
        if 'mean' in cfg:
            line += ("; mmpretrain's data_preprocessor beside the model is for a plain model: "
                     'data_preprocessor=None there, and _base_.data_preprocessor in architecture '
                     'and teacher')
    elif isinstance(error, (AssertionError, TypeError)) and last.match(DISTILLER):
        line = f'distiller: {message}'
    elif isinstance(error, AttributeError) and any(
            Path(frame.f_code.co_filename).match(LAYER_DECAY) for frame in frames):
        line = (f'optim_wrapper.constructor: {message}; it counts layers by the names of a model '
                'alone and is not for distillation; expected another constructor')
    elif isinstance(error, TypeError):
        line = _wrong_argument(message, frames)
    elif isinstance(error, ValueError) and message.startswith('end should be larger than begin'):
        line = f'param_scheduler: {message}; what has no end of its own ends with the training'
    elif isinstance(error, URLError):
        line = _not_downloaded(error, frames)
    elif isinstance(error, (FileNotFoundError, NotADirectoryError, PermissionError)) and not ours:
        said = [text for text in message.splitlines() if text.strip()]  # by a worker: many lines
        line = f'{error.strerror}: {error.filename}' if error.filename else said[-1]
    return ' '.join(line.split()) if line else None
