"""Reads a work_dir of mmengine: curves, step times, the trained student."""
import copy
import json
import statistics
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from mmengine.config import Config, ConfigDict
from mmengine.runner import find_latest_checkpoint
from mmrazor.registry import MODELS
from torch import nn

from ..checkpoints import student
from ..checkpoints.save import whole_file


def write_whole(path: Path, text: str) -> None:
    """All of it or nothing: a run that is stopped here leaves no half a result."""
    with whole_file(path) as file:
        file.write(text.encode())


def read_scalars(work_dir: Path) -> List[dict]:
    """Every line of every ``vis_data/scalars.json`` below a work_dir, oldest run first.

    A line that was cut short when the run was killed is left out.
    """
    entries = []
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            try:
                entries.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return entries


def curve(scalars: Sequence[dict], metric: str) -> List[Tuple[int, float]]:
    """A metric of the validation by epoch; where an epoch was run twice, the later one counts."""
    values: Dict[int, float] = {}
    for entry in scalars:
        if metric in entry:
            values[entry['step']] = entry[metric]
    return sorted(values.items())


def seconds_per_step(scalars: Sequence[dict]) -> float:
    """Median time of a training step, loading included."""
    return statistics.median(entry['time'] for entry in scalars if 'loss' in entry)


def last_checkpoint(work_dir: Path) -> Optional[Path]:
    """The checkpoint that ``--resume`` would take."""
    if not Path(work_dir, 'last_checkpoint').is_file():
        return None  # as mmengine finds too, with a line in the log each time
    return Path(find_latest_checkpoint(str(work_dir)))


def student_config(config: Config) -> ConfigDict:
    """The model that a config trains and that is deployed: its student, if it distils."""
    model = copy.deepcopy(config.model.get('architecture', config.model))
    preprocessor = config.model.get('data_preprocessor') or config.get('data_preprocessor')
    if preprocessor:
        model.setdefault('data_preprocessor', preprocessor)
    return model


def load_student(config: Config, checkpoint: str) -> nn.Module:
    """Build the student of a config with the weights of a checkpoint, plain or distilled."""
    model = MODELS.build(student_config(config))
    state = student.weights(student.load(checkpoint))
    student.check_fit(state, model, checkpoint)
    model.load_state_dict(state)
    return model.eval()


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
