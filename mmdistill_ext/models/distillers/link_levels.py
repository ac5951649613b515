"""The levels of a link: which features of two models it compares, checked once when built."""
from inspect import Parameter, signature
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

from mmrazor.registry import MODELS
from torch import Tensor, nn

from ...errors import ConfigError, few, nearest
from ..utils.dry_run import Outputs, tensors_of
from .layouts import KINDS, Layout, Steps, layout_of, match
from .links import Link

# What MMRazor's connectors and ours call the channels of the student and of the teacher.
STUDENT_CHANNELS = ('in_channels', 'in_channel', 'student_channels')
TEACHER_CHANNELS = ('out_channels', 'out_channel', 'teacher_channels')

# MMRazor's losses that mean the same on tokens: they compare element by element, or flatten.
TAKE_TOKENS = ('L1Loss', 'L2Loss', 'DistanceWiseRKD', 'AngleWiseRKD')


class RecordIndex(NamedTuple):
    """Where one tensor is in MMRazor's recorders; as in ``ConfigurableDistiller.get_record``.

    Args:
        recorder (str): The name of the recorder.
        record_idx (int): Which call of the module.
        data_idx (int, optional): Which tensor of the output. None: the output is one tensor.
    """
    recorder: str
    record_idx: int
    data_idx: Optional[int] = None


class Level(NamedTuple):
    """One pair of features that a link compares.

    Args:
        student (RecordIndex): The student's feature.
        teacher (RecordIndex, optional): The teacher's feature. None: self-distillation.
        connector (str, optional): The transform's name in ``distiller.connectors``.
        student_steps (Steps): What gives the student's feature the common layout.
        teacher_steps (Steps): What gives the teacher's feature the common layout.
    """
    student: RecordIndex
    teacher: Optional[RecordIndex] = None
    connector: Optional[str] = None
    student_steps: Steps = Steps()
    teacher_steps: Steps = Steps()

    def arrange(self, student: Tensor, teacher: Tensor) -> Tuple[Tensor, Tensor]:
        """Return both features as vectors, both as tokens or both as maps."""
        return (self.student_steps.apply(student, teacher.shape[2:]),
                self.teacher_steps.apply(teacher, student.shape[2:]))


class DryRunFeature(NamedTuple):
    """One tensor that a module returned in the dry run.

    Args:
        place (str): The module's name.
        record (RecordIndex): Where the recorders hold it in a training step.
        tensor (Tensor): What it was in the dry run.
        layout (Layout): Where its channels are.
    """
    place: str
    record: RecordIndex
    tensor: Tensor
    layout: Layout

    @property
    def shape(self) -> str:
        return f'{self.place} {list(self.tensor.shape[1:])}'


def recorder_key(place: str) -> str:
    """The name of the recorder that links use for a place."""
    return f'link {place}'


def place_of(recorder: str) -> str:
    """The place that a link's recorder reads."""
    return recorder[len(recorder_key('')):]


def features_of(link: Link, side: str, model: nn.Module,
                outputs: Outputs) -> List[DryRunFeature]:
    """Every tensor that a link reads in one model: of each place, each call, each item.

    Args:
        link (Link): The link.
        side (str): 'student' or 'teacher'.
        model (nn.Module): The student or the teacher.
        outputs (Outputs): What its modules returned in the dry run.
    """
    features = []
    for place in getattr(link, side):
        for call, output in enumerate(outputs[place]):
            for index, tensor in enumerate(tensors_of(output)):
                record = RecordIndex(recorder_key(place), call,
                                     None if isinstance(output, Tensor) else index)
                try:
                    layout = layout_of(tensor, output, model, place, outputs.size)
                except ConfigError as error:
                    raise ConfigError(f'link {link.name!r}, {side}: {error}') from None
                features.append(DryRunFeature(place, record, tensor, layout))
    return features


def missing_record_error(links: Sequence[Link], recorder: str, from_student: bool,
                         ran: int) -> ConfigError:
    """The error for a module that returns fewer tensors in training than in the dry run."""
    side, place = 'student' if from_student else 'teacher', place_of(recorder)
    names = ', '.join(repr(link.name) for link in links if place in getattr(link, side))
    return ConfigError(f'link {names}, {side}: {place!r} ran {ran} times in this training step and '
                       'returned fewer tensors than in the dry run in evaluation mode; name a '
                       'module that returns the same in training and evaluation')


def match_levels(link: Link, student: List[DryRunFeature],
                 teacher: List[DryRunFeature]) -> List[Level]:
    """The levels of a link.

    Raises:
        ConfigError: The sides differ in the number of features; or two features differ in kind, in
            the number of tokens, or in height or width where the link does not resize.
    """
    if len(student) != len(teacher):
        raise ConfigError(
            f'link {link.name!r}: the student returns {len(student)} features '
            f'({few(f.shape for f in student)}), the teacher {len(teacher)} '
            f'({few(f.shape for f in teacher)}); name places that return the same number')
    levels = []
    for index, (s, t) in enumerate(zip(student, teacher)):
        both = f'link {link.name!r}: student {s.shape} and teacher {t.shape}'
        try:
            steps = match(s.layout, t.layout)
            level = Level(s.record, t.record, f'{link.name}_{index}' if link.connector else None,
                          *steps)
            own, theirs = level.arrange(s.tensor, t.tensor)
        except ConfigError as error:
            raise ConfigError(f'{both}: {error}') from None
        if own.ndim == theirs.ndim == 4 and own.shape[2:] != theirs.shape[2:] and not link.resize:
            raise ConfigError(
                f'{both} differ in height or width (C, H, W on one input); link features of one '
                'stride or set resize=True')
        if own.ndim == theirs.ndim == 3 and own.shape[1] != theirs.shape[1]:
            raise ConfigError(f'{both} have {own.shape[1]} and {theirs.shape[1]} tokens; link '
                              'features with as many, or maps with resize=True')
        levels.append(level)
    return levels


def registered(name: str) -> Optional[Callable]:
    """What is registered under a name, or None."""
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
    except Exception as error:  # unknown or missing fields, wrong values
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f'link {link.name!r}: {what} {kind!r}: {reason}') from error
    if not isinstance(module, nn.Module):
        raise ConfigError(f'link {link.name!r}: {what} {kind!r} is a {type(module).__name__}, not '
                          'a module')
    return module


def build_connector(link: Link, student: DryRunFeature, teacher: DryRunFeature) -> nn.Module:
    """Build the transform of one level with the channel numbers of the two models."""
    for feature in (student, teacher):
        if feature.tensor.ndim < 2:
            raise ConfigError(f'link {link.name!r}: {feature.place} returns '
                              f'{list(feature.tensor.shape)}, which has no channels')
    assert link.connector is not None
    config = dict(link.connector)
    kind = registered(config['type']) if isinstance(config['type'], str) else config['type']
    taken = signature(kind.__init__).parameters if kind else {}
    for names, side, feature in ((STUDENT_CHANNELS, 'student', student),
                                 (TEACHER_CHANNELS, 'teacher', teacher)):
        channels = feature.layout.channels
        for name in filter(taken.__contains__, names):
            if config.setdefault(name, channels) != channels:
                raise ConfigError(
                    f'link {link.name!r}: {config["type"]} states {name}={config[name]}, but the '
                    f"{side}'s {feature.shape} has {channels} channels; leave {name} out")
    return build(link, 'connector', config)


def check_signature(link: Link, loss: nn.Module) -> None:
    """Raise if the loss requires more arguments than a link passes."""
    required = [name for name, parameter in signature(loss.forward).parameters.items()
                if parameter.default is Parameter.empty
                and parameter.kind is Parameter.POSITIONAL_OR_KEYWORD]
    given = 2 if link.teacher else 1
    if len(required) == 2 and not link.teacher:
        raise ConfigError(f"link {link.name!r}: the field 'teacher' is missing: "
                          f'{type(loss).__name__} compares {" and ".join(required)}')
    if len(required) > given:
        raise ConfigError(
            f'link {link.name!r}: {type(loss).__name__} also needs {", ".join(required[given:])}, '
            "which a link does not have; use MMRazor's recorders and loss_forward_mappings for it")


def check_takes_tokens(link: Link, loss: nn.Module, level: Level, student: DryRunFeature) -> None:
    """Raise if the loss would take tokens for channels: most of MMRazor's reduce dimension 1."""
    if (student.tensor.ndim == 3 and level.student_steps.to_map is None
            and type(loss).__module__.startswith('mmrazor.')
            and type(loss).__name__ not in TAKE_TOKENS):
        raise ConfigError(
            f'link {link.name!r}: {student.shape} are tokens [L, C], and {type(loss).__name__} '
            'reads the first of these dimensions as channels; expected FeatureL2Loss, '
            f'FeatureMSELoss, {", ".join(TAKE_TOKENS)}, or places that return maps')


def check_loss(link: Link, compute: Callable, *features: DryRunFeature) -> None:
    """Compute the loss once, so that shapes that do not match fail when the model is built."""
    named = [feature.shape for feature in features]
    shapes = ' and '.join(named) if len(named) == 2 else few(named)
    try:
        loss = compute()
    except ConfigError as error:
        raise ConfigError(f'link {link.name!r}, {shapes}: {error}') from error
    except Exception as error:  # of the loss or the connector, of any kind
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if len({feature.layout.channels for feature in features}) > 1 and not link.connector:
            advice = 'a connector changes channels'
        else:
            kind = KINDS.get(features[0].tensor.ndim, f'{features[0].tensor.ndim}-D tensor')
            advice = (f'expected a loss and a connector that accept a {kind}, such as '
                      'FeatureL2Loss and MLPConnector')
        raise ConfigError(f'link {link.name!r}: {shapes} do not match: {reason}; '
                          f'{advice}') from error
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        what = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ConfigError(f'link {link.name!r}: {link.loss["type"]} returns {what}, expected '
                          'one number')
