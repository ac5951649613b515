"""What ends a run in one line: mistakes that a user can mend, and losses that are no numbers."""
import difflib
import math
from typing import Any, Iterable

__all__ = ['ConfigError', 'NumbersError']


class ConfigError(ValueError):
    """A mistake in a config, said in one line.

    ``tools/train.py`` and ``tools/test.py`` print the message without a traceback and exit with
    code 2. Anything else that goes wrong keeps its traceback: it is ours.

    Args:
        message (str): The name of the thing, what was found, what is expected.
    """


class NumbersError(ArithmeticError):
    """A loss became NaN or infinite; said in one line, as a :class:`ConfigError` is.

    Args:
        message (str): Which loss, in which iteration, on which images, what to do.
    """


def nearest(name: str, candidates: Iterable[str], count: int = 3) -> str:
    """The part of a message that helps with a misspelt name.

    Args:
        name (str): What the user wrote.
        candidates (Iterable[str]): What could have been written.
        count (int): How many to name at most. Defaults to 3.

    Returns:
        str: ``did you mean 'a' or 'b'?``, or the candidates themselves where none is close.
    """
    candidates = list(dict.fromkeys(candidates))
    close = difflib.get_close_matches(name, candidates, n=count, cutoff=0.5)
    if close:
        return 'did you mean ' + ' or '.join(repr(c) for c in close) + '?'
    shown = ', '.join(repr(c) for c in candidates[:10])
    more = f' and {len(candidates) - 10} more' if len(candidates) > 10 else ''
    return f'known names are {shown}{more}' if candidates else 'there is nothing to choose from'


def few(items: Iterable[Any], most: int = 8) -> str:
    """Items for a message, which would be too long with all of them.

    Args:
        items (Iterable): What is listed.
        most (int): How many are named; dots stand for the others. Defaults to 8.

    Examples:
        >>> from mmdistill_ext.errors import few
        >>> few([1, 2, 3], most=2)
        '1, 2, ...'
    """
    items = list(items)
    return ', '.join([*map(str, items[:most]), *(['...'] if len(items) > most else [])])


def number(what: str, value: Any, least: float = 0.) -> Any:
    """``value`` itself where it is a finite number from ``least`` on.

    Args:
        what (str): Whose number it is, for the message.
        value: What the user wrote.
        least (float): Defaults to 0.
    """
    if type(value) not in (int, float) or not least <= value < math.inf:
        raise ConfigError(f'{what} is a number from {least:g}, found {value!r}')
    return value


def whole(what: str, value: Any, least: int = 1) -> int:
    """``value`` itself where it is a whole number from ``least`` on; arguments as above."""
    if type(value) is not int or value < least:
        raise ConfigError(f'{what} is a whole number from {least}, found {value!r}')
    return value


def one_of_types(field: str, value: Any, *types: type) -> Any:
    """``value`` itself where it is of one of the types.

    Args:
        field (str): What a config calls it.
        value: What the user wrote.
        types (type): What it may be.
    """
    if not isinstance(value, types):
        expected = ' or '.join(kind.__name__ for kind in types)
        raise ConfigError(f'{field} is a {expected}, found {value!r}')
    return value
