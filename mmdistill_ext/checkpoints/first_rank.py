"""Work that one rank does for all, so that the others do not wait for ever when it fails."""
from typing import Any, Callable, List, Optional

from mmengine.dist import broadcast_object_list, is_main_process

from ..errors import ConfigError


def on_first_rank(work: Callable[[], Any]) -> Any:
    """Call ``work`` on the first rank; all ranks return what it returned.

    Where it raises, every rank raises: the first its own error, the others its text in a line.

    Args:
        work (Callable): Returns something that can be pickled.
    """
    found: List[Any] = [None, None]  # what it returned, what it raised
    failure: Optional[Exception] = None
    if is_main_process():
        try:
            found[0] = work()
        except Exception as error:
            failure, found[1] = error, str(error) or type(error).__name__
    broadcast_object_list(found)
    if failure is not None:
        raise failure
    if found[1] is not None:
        raise ConfigError(found[1])
    return found[0]
