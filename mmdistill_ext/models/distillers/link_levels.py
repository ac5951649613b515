"""From the features that two models give to the levels of a link: built and tried once."""
from inspect import Parameter, signature
from typing import Callable, Dict, List, NamedTuple, Optional

from mmrazor.registry import MODELS
from torch import Tensor, nn

from ...errors import ConfigError, nearest
from ..utils.dry_run import tensors_of
from .links import Link

# What MMRazor's connectors and ours call the channels of the student and of the teacher.
STUDENT_CHANNELS = ('in_channels', 'in_channel', 'student_channels')
TEACHER_CHANNELS = ('out_channels', 'out_channel', 'teacher_channels')


class Feature(NamedTuple):
    """One tensor that a place gives.

    Args:
        place (str): The module's name.
        record (dict): Arguments of ``ConfigurableDistiller.get_record``.
        tensor (Tensor): What it was in the dry run.
    """
    place: str
    record: dict
    tensor: Tensor

    @property
    def shape(self) -> str:
        return f'{self.place} {list(self.tensor.shape[1:])}'


def recorder_key(place: str) -> str:
    """The name of the recorder that links use for a place."""
    return f'link {place}'


def features_of(places: List[str], outputs: Dict[str, list]) -> List[Feature]:
    """Every tensor that the places give, in order: of each call, of each item of a tuple."""
    features = []
    for place in places:
        for call, output in enumerate(outputs[place]):
            for index, tensor in enumerate(tensors_of(output)):
                record = dict(recorder=recorder_key(place), record_idx=call)
                if not isinstance(output, Tensor):
                    record['data_idx'] = index
                features.append(Feature(place, record, tensor))
    return features


def too_few(links: List[Link], recorder: str, from_student: bool, ran: int) -> ConfigError:
    """What to say of a place that gave more when the model was tried out than it does now."""
    side, place = 'student' if from_student else 'teacher', recorder[len(recorder_key('')):]
    names = ', '.join(repr(link.name) for link in links if place in getattr(link, side))
    return ConfigError(f'link {names}, {side}: {place!r} ran {ran} times in this training step and '
                       'gave less than when the model was tried out; name a module that runs alike '
                       'in training and evaluation')


def check_levels(link: Link, student: List[Feature], teacher: List[Feature]) -> None:
    """As many levels on both sides, and maps of one size unless the link resizes."""
    if not link.teacher:
        return
    if len(student) != len(teacher):
        raise ConfigError(
            f'link {link.name!r}: the student gives {len(student)} features '
            f'({", ".join(f.shape for f in student)}), the teacher {len(teacher)} '
            f'({", ".join(f.shape for f in teacher)}); name places that give as many')
    for s, t in zip(student, teacher):
        maps = s.tensor.ndim == t.tensor.ndim == 4
        if maps and s.tensor.shape[2:] != t.tensor.shape[2:] and not link.resize:
            raise ConfigError(
                f'link {link.name!r}: student {s.shape} and teacher {t.shape} differ in height or '
                'width (C, H, W on one input); link features of one stride or set resize=True')


def registered(name: str) -> Optional[Callable]:
    """What is registered under a name, None where nothing is."""
    try:
        return MODELS.get(name)
    except Exception:  # mmengine looks for the name among modules too, and fails on an odd one
        return None


def build(link: Link, what: str, config: dict) -> nn.Module:
    """Build a link's loss or connector; what is not registered is an error with nearest names."""
    kind = config['type']
    if isinstance(kind, str) and registered(kind) is None:
        raise ConfigError(f'link {link.name!r}: {what} {kind!r} is not registered; '
                          f'{nearest(kind, MODELS.module_dict)}')
    try:
        module = MODELS.build(config)
    except Exception as error:  # a field that does not exist or is missing, or a value that cannot
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f'link {link.name!r}: {what} {kind!r}: {reason}') from error
    if not isinstance(module, nn.Module):
        raise ConfigError(f'link {link.name!r}: {what} {kind!r} is a {type(module).__name__}, not '
                          'a module')
    return module


def build_connector(link: Link, student: Feature, teacher: Feature) -> nn.Module:
    """Build the transform of one level with the channel numbers of the two models."""
    for feature in (student, teacher):
        if feature.tensor.ndim < 2:
            raise ConfigError(f'link {link.name!r}: {feature.place} gives a '
                              f'{list(feature.tensor.shape)}, which has no channels to connect')
    config = dict(link.connector)
    kind = registered(config['type']) if isinstance(config['type'], str) else config['type']
    taken = signature(kind.__init__).parameters if kind else {}
    for names, side, feature in ((STUDENT_CHANNELS, 'student', student),
                                 (TEACHER_CHANNELS, 'teacher', teacher)):
        channels = feature.tensor.shape[1]
        for name in filter(taken.__contains__, names):
            if config.setdefault(name, channels) != channels:
                raise ConfigError(
                    f'link {link.name!r}: {config["type"]} states {name}={config[name]}, but the '
                    f"{side}'s {feature.shape} has {channels} channels; leave {name} out")
    return build(link, 'connector', config)


def check_signature(link: Link, loss: nn.Module) -> None:
    """A link has two features to give, or the list of the student's."""
    required = [name for name, parameter in signature(loss.forward).parameters.items()
                if parameter.default is Parameter.empty
                and parameter.kind is Parameter.POSITIONAL_OR_KEYWORD]
    given = 2 if link.teacher else 1
    if len(required) > given:
        raise ConfigError(
            f'link {link.name!r}: {type(loss).__name__} also needs {", ".join(required[given:])}, '
            "which a link does not have; use MMRazor's recorders and loss_forward_mappings for it")


def attempt(link: Link, compute: Callable, *features: Feature) -> None:
    """Compute a loss once, so that features that do not meet fail here and not in a step."""
    shapes = ' and '.join(feature.shape for feature in features)
    try:
        loss = compute()
    except ConfigError as error:
        raise ConfigError(f'link {link.name!r}, {shapes}: {error}') from error
    except Exception as error:  # whatever the loss or the connector does not take
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f'link {link.name!r}: {shapes} (C, H, W) do not meet: {reason}; '
                          'a connector makes them') from error
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        what = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ConfigError(f'link {link.name!r}: {link.loss["type"]} gives {what}, and a loss is '
                          'one number')
