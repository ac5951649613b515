"""From counted operations to GPU hours, by the speeds that docs/performance.md has measured."""
import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

from mmengine.config import Config

MODES = ('bench cuda', 'bench cuda amp')  # eager, mixed precision


class Speed(NamedTuple):
    """A row of the bench: a training step on the GPU.

    Args:
        seconds (float): Of a step.
        gflops (float): GFLOP/s, of its operations in that time.
    """
    seconds: float
    gflops: float


class Speeds(Dict[str, Dict[str, Speed]]):
    """Mode -> 'group: row' -> speed."""

    def hours(self, path: Path, config: Config, images: int, step: int,
              gflop: float) -> List[Optional[float]]:
        """GPU hours of a training, eager and in mixed precision; None where nobody measured.

        Args:
            path (Path): The recipe.
            config (Config): The recipe.
            images (int): In the whole training.
            step (int): Images in a step of all GPUs.
            gflop (float): Of an image.
        """
        row = row_of(path, config)
        found: List[Optional[float]] = []
        for mode in MODES:
            speed = self[mode].get(row)
            if speed is None:
                found.append(None)
            elif by_steps(config):
                found.append(images / step * speed.seconds / 3600)
            else:
                found.append(images * gflop / speed.gflops / 3600)
        return found


def by_steps(config: Config) -> bool:
    """Images so small that the GPU waits: a step takes its time whatever it computes."""
    return config.train_dataloader.dataset.type == 'CIFAR100'


def row_of(path: Path, config: Config) -> str:
    """The row of the bench that is nearest to a recipe."""
    method = path.parts[path.parts.index('configs') + 1]
    if config.default_scope != 'mmpretrain':
        return 'det: ours' if config.default_scope == 'mmdet' else 'seg: ours'
    if method == 'tffd' and 'teacher' not in config.model:
        return 'tffd: Tf-FD'
    if not by_steps(config):
        return 'cls: ours'
    paths = config.model.get('paths', {}).get('num', 2 if 'FCFD' in config.model.type else 0)
    return f'fcfd: FCFD, {4 if paths in ("all", 3) else paths} paths'


def read_speeds(page: Path) -> Speeds:
    """What the bench wrote between its markers."""
    found = Speeds()
    for mode in MODES:
        _, text, _ = page.read_text().split(f'<!-- {mode} -->')
        found[mode] = {}
        for group, rows in re.findall(r'^### (\w+)\n\n(\| row .*?)(?=\n\n|\Z)', text, re.M | re.S):
            for line in rows.splitlines()[2:]:
                cells = [cell.strip() for cell in line.strip('|').split('|')]
                found[mode][f'{group}: {cells[0]}'] = Speed(
                    float(cells[1].split()[0]), float(cells[6]))
    return found
