"""The one exception for mistakes that a user can mend in the config."""
import difflib
from typing import Iterable


class ConfigError(ValueError):
    """A mistake in a config, said in one line.

    ``tools/train.py`` and ``tools/test.py`` print the message without a traceback and exit with
    code 2. Anything else that goes wrong keeps its traceback: it is ours.

    Args:
        message (str): The name of the thing, what was found, what would fit.
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
