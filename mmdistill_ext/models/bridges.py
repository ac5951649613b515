"""Which bridge joins two stages, from what is known of their features."""
from fractions import Fraction

from ..errors import ConfigError
from .connectors.fcfd_bridge import CONVS, FCFDBridge
from .staged import Feature, StagedNetwork


def bridge_between(source: Feature, target: Feature) -> FCFDBridge:
    """A bridge from one network's feature to the shape of another's.

    Args:
        source (Feature): What is transformed.
        target (Feature): What it becomes like.
    """
    heights, widths = (Fraction(t * source.image, s * target.image)
                       for t, s in zip(target.size, source.size))
    if heights != widths or heights not in CONVS:
        factor = heights if heights == widths else f'{heights} by {widths}'
        raise ConfigError(
            f'FCFD: no bridge from {source} to {target} (C, H, W; images of {source.image} and '
            f'{target.image} pixels): the size changes {factor} times, and 1/2, 1 and 2 would '
            'fit; name stages that line up in student_stages and teacher_stages')
    return FCFDBridge(source.channels, target.channels, float(heights), target.post_relu)


def check_stages(student: StagedNetwork, teacher: StagedNetwork) -> None:
    """As many stages on both sides, and the same classes."""
    if len(student) != len(teacher):
        sides = [f'the {side} has {len(net)} stages ({", ".join(map(str, net.features))})'
                 for side, net in (('student', student), ('teacher', teacher))]
        raise ConfigError(f'FCFD: {" and ".join(sides)}; name as many in student_stages as in '
                          'teacher_stages')
    if student.classes != teacher.classes:
        raise ConfigError(f'FCFD: the student has {student.classes} classes, the teacher '
                          f'{teacher.classes}; they must agree')
