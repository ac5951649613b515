"""Scalars of a run that logged to TensorBoard and not to ``scalars.json``."""
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from ..errors import ConfigError

PATTERN = 'events.out.tfevents.*'
BOTH = ('time', 'data_time')  # logged in training and in validation
Events = Sequence[Tuple[int, float]]  # (step, value) in the order of writing


def read_events(folder: Path) -> List[dict]:
    """What mmengine's ``TensorboardVisBackend`` wrote, as ``scalars.json`` would have it.

    Args:
        folder (Path): That holds the event files.

    Raises:
        ConfigError: TensorBoard, whose reader is used, is not installed.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise ConfigError(f'{folder} holds event files of TensorBoard and no scalars.json; to read '
                          'them: pip install tensorboard') from error
    accumulator = EventAccumulator(str(folder), size_guidance=dict(scalars=0),
                                   purge_orphaned_data=False)
    accumulator.Reload()
    return entries({tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
                    for tag in accumulator.Tags()['scalars']})


def entries(tags: Dict[str, Events]) -> List[dict]:
    """One dict for each training step that was logged, and one for each metric of a validation.

    TensorBoard knows tags one by one. The tags of training are logged at exactly the steps of
    'loss'; 'time' and the like are logged in validation too, between two of those.

    Args:
        tags (dict[str, Events]): Tag -> its events.
    """
    steps = [step for step, _ in tags.get('loss', [])]
    training: List[dict] = [dict(step=step) for step in steps]
    others: List[dict] = []
    for tag, events in tags.items():
        found = _of_training(events, steps)
        if tag in BOTH or len(found) == len(events) == len(steps):
            for entry, value in zip(training, found):
                entry[tag] = value
        else:
            others += [{tag: value, 'step': step} for step, value in events]
    return training + others


def _of_training(events: Events, steps: Sequence[int]) -> List[float]:
    """The values at the steps of training, taken one after the other."""
    found: List[float] = []
    for step, value in events:
        if len(found) < len(steps) and step == steps[len(found)]:
            found.append(value)
    return found
