"""How long a training takes to its first iteration, ours and MMRazor's."""
import copy
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List

import mmrazor
import torch
from mmengine.config import Config, ConfigDict

from mmdistill_ext import compat
from mmdistill_ext.datasets import SceneSettings, make_data

from ..where import HOME
from .rows_mlp import TASKS, build, lean, stock_mgd

STEP = 0.02  # s between two looks at the log
# What MMRazor's train.py needs on PyTorch 2; ours is started in the same way.
BRIDGE = [compat.__file__]
THEIR_TOOLS = Path(mmrazor.__file__).parent / '.mim' / 'tools'


def seconds_to_first_iteration(tool: Path, config: Path, work_dir: Path) -> float:
    """From the start of the process to the log line of its first iteration; it is ended then."""
    start = time.perf_counter()
    with open(work_dir.with_suffix('.txt'), 'w') as output:
        process = subprocess.Popen(
            [sys.executable, *BRIDGE, str(tool), str(config), '--work-dir', str(work_dir)],
            stdout=output, stderr=subprocess.STDOUT)
        try:
            while not any(path.stat().st_size for path in work_dir.glob('*/vis_data/*.json')):
                if process.poll() is not None:
                    raise RuntimeError(f'{tool} ended early, see {output.name}')
                time.sleep(STEP)
            return time.perf_counter() - start
        finally:
            process.kill()
            process.wait()


def start_up_rows(out: Path) -> Dict[str, Callable[[], float]]:
    """Row -> what starts a training and returns the seconds.

    The recipes' networks on the demo's data: ours with the channel MLP, MMRazor's with its MGD.

    Args:
        out (Path): A folder for configs and work_dirs.
    """
    make_data(Path('data/digits'), SceneSettings())
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    rows: Dict[str, Callable[[], float]] = {}
    for name, described in TASKS.items():
        task = described()
        teacher = str(out / f'{name}_teacher.pth')
        ours = Config.fromfile(HOME / 'projects/demo/configs' / f'{name}_mlp.py')
        ours.default_hooks.logger.interval = 1
        model = ours.model  # its own update() would merge the networks
        model.architecture = _network(task.student, model.architecture)
        model.teacher = _network(task.teacher, model.teacher)
        model.teacher_ckpt = teacher
        model.distiller.links = lean(task)['distiller']['links']
        torch.save(build(model.teacher).state_dict(), teacher)
        theirs = _of_mmrazor(name, ours)
        for who, config, tools in ((f"{name}: MMRazor's", theirs, THEIR_TOOLS),
                                   (f'{name}: ours', ours, HOME / 'tools')):
            path = out / f'{name}_{"ours" if config is ours else "theirs"}.py'
            config.dump(path)
            rows[who] = partial(_run, tools / 'train.py', path)
    return rows


def _network(network: ConfigDict, demo: ConfigDict) -> ConfigDict:
    """A recipe's network for the demo's data and classes."""
    network.data_preprocessor = demo.data_preprocessor
    classes, = {head.num_classes for head in _heads(demo)}
    for head in _heads(network):  # an auxiliary one too
        head.num_classes = classes
    return network


def _heads(network: ConfigDict) -> List[ConfigDict]:
    return [part for part in network.values()
            if isinstance(part, ConfigDict) and 'num_classes' in part]


def _run(tool: Path, config: Path) -> float:
    work_dir = config.with_suffix('')
    shutil.rmtree(work_dir, ignore_errors=True)
    return seconds_to_first_iteration(tool, config, work_dir)


def _of_mmrazor(name: str, ours: Config) -> Config:
    """The same training with MMRazor's algorithm and nothing of this project."""
    config = copy.deepcopy(ours)
    config.pop('custom_imports'), config.pop('custom_hooks')
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        once, *rest = loader.dataset.pipeline
        loader.dataset.pipeline = [*once.transforms, *rest]
    task = TASKS[name]()._replace(student=ours.model.architecture, teacher=ours.model.teacher)
    config.model = dict(stock_mgd(name, task), _scope_='mmrazor',
                        teacher_ckpt=ours.model.teacher_ckpt)
    return config
