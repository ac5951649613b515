"""``tools/train.py --dry-run``: all of a training but its length, of which nothing is kept."""
import os
import tempfile
import time
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, NamedTuple

import torch
from mmengine.config import Config
from mmengine.dist import all_reduce, get_world_size, is_main_process
from mmengine.hub import get_config
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop
from mmrazor.registry import MODELS
from torch import nn
from torch.utils.data import DataLoader

from ..analysis import job_memory, places
from ..analysis.measure import saved_bytes, seconds_of
from ..analysis.tables import Table
from ..checkpoints.load import is_here
from ..errors import ConfigError
from . import command as cli

FEW = 2  # images of the first step, which tells the memory of a whole one
MORE = (1, 2, 4, 8)  # times as many processes as here
AMP_FIELDS = ('loss_scale', 'dtype', 'use_fp16')


class Job(NamedTuple):
    """What was measured.

    Args:
        images (int): A process's in a step.
        seconds (float): Of a step, loading left out.
        load (float): Seconds that one process takes to load the images of a step.
        workers (int): Processes that load.
        steps (int): Of the whole training, with as many processes as here.
        epochs (int): Of the whole training; 0 where it counts iterations.
        dataset (int): Images.
        drop_last (bool): Whether an epoch leaves out the last batch if it is not full.
    """
    images: int
    seconds: float
    load: float
    workers: int
    steps: int
    epochs: int
    dataset: int
    drop_last: bool

    def steps_with(self, processes: int) -> int:
        """Steps of the whole training on so many processes."""
        if not self.epochs or processes == get_world_size():
            return self.steps
        each = -(-self.dataset // processes)
        return self.epochs * (each // self.images if self.drop_last else -(-each // self.images))

    @property
    def wall(self) -> float:
        """Seconds of a step with loading, which workers do meanwhile."""
        return max(self.seconds, self.load / self.workers) if self.workers else \
            self.seconds + self.load


class Rehearsal(Runner):
    """Trains two steps in the place of a whole training, after a small one; prints what it saw."""

    left_out: List[str]

    def build_model(self, model: dict) -> nn.Module:
        """With random weights in the place of those that would have to be fetched."""
        model, self.left_out = _offline(dict(model))
        built = super().build_model(model)
        self.left_out += _forget_addresses(built)
        return built

    def build_train_loop(self, loop: dict) -> BaseLoop:
        """One whose ``run`` is a rehearsal."""
        built = super().build_train_loop(loop)
        built.run = partial(self.rehearse, built)
        return built

    def rehearse(self, loop: BaseLoop) -> None:
        """Measure and print."""
        model = self.model.module if is_model_wrapper(self.model) else self.model
        loader = loop.dataloader
        by_epoch = not isinstance(loop, IterBasedTrainLoop)
        step = partial(loop.run_iter, 0) if by_epoch else loop.run_iter
        images = min(loader.batch_size or loader.batch_sampler.batch_size, len(loader.dataset))
        self.call_hook('before_train')
        self.call_hook('before_train_epoch')
        self.model.train()
        few = min(FEW, images)
        batch, _ = _load(loader, few)
        with _one_line_if_too_large(few), places.shapes_of(model) as shapes:
            saved = saved_bytes(partial(step, batch), model)
        needs = job_memory.needs_of(model, self.optim_wrapper, saved, batch, few)
        job_memory.check_fits(needs, images)
        batches = _endless(loader) if by_epoch else loop.dataloader_iterator
        with _one_line_if_too_large(images):
            step(next(batches))  # which warms up
            seconds = seconds_of(partial(step, next(batches)))
        _, load = _load(loader, images)
        slowest = torch.tensor([seconds, load, job_memory.peak_memory()], dtype=torch.float64)
        all_reduce(slowest, 'max')
        seconds, load, peak = slowest.tolist()
        job = Job(images, seconds, load, loader.num_workers, loop.max_iters,
                  loop.max_epochs if by_epoch else 0, len(loader.dataset),
                  getattr(loader.batch_sampler, 'drop_last', False))
        if is_main_process():
            print('\n'.join([
                '', *_places(model, shapes), _parameters(model).markdown(), '',
                f'memory: {needs.text(images)}; the most that a process has had: '
                f'{job_memory.size(peak)}', *_time(job),
                *(f'left out here: {what}' for what in self.left_out), 'nothing was kept']))


def run(cfg: Config) -> None:
    """Rehearse a training that is ready to start."""
    left_out = _without_gpu(cfg)
    cfg.resume, cfg.visualizer, cfg.log_level = False, None, 'WARNING'
    if '://' in (cfg.get('load_from') or ''):
        left_out.append(f'load_from={cfg.load_from!r}, which is not fetched')
        cfg.load_from = None
    cfg.default_hooks = dict(cfg.get('default_hooks') or {}, checkpoint=None, logger=None)
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or []
                        if 'CheckpointHook' not in str(hook.get('type'))]

    def work(runner: Rehearsal) -> None:
        runner.left_out += left_out
        runner.train()

    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        cli.run(cfg, work, Rehearsal)


def _without_gpu(cfg: Config) -> List[str]:
    """Leave out what only a GPU can do, so that a login node can say the rest."""
    if torch.cuda.is_available():
        return []
    left_out = []
    wrapper = cfg.optim_wrapper.get('architecture', cfg.optim_wrapper)
    if wrapper.get('type') == 'AmpOptimWrapper':
        left_out.append('mixed precision, which needs a GPU')
        wrapper.type = 'OptimWrapper'
        for field in AMP_FIELDS:
            wrapper.pop(field, None)
    if cfg.get('sync_bn'):
        left_out.append('SyncBN, which needs GPUs')
        cfg.sync_bn = None
    return left_out


def _offline(model: dict) -> tuple:
    """The config of a model that asks for nothing that is not on this machine."""
    left_out = []
    architecture, teacher = model.get('architecture'), model.get('teacher')
    if isinstance(architecture, dict) and architecture.get('pretrained') is True:
        left_out.append(f'the weights of {architecture["cfg_path"]}, which are not fetched')
        model['architecture'] = dict(architecture, pretrained=False)
    if isinstance(teacher, dict):
        address = model.get('teacher_ckpt')
        if not address and teacher.get('pretrained') is True:
            address = get_config(teacher['cfg_path'], pretrained=True).model_path
        if address and '://' in address and not is_here(address):
            left_out.append(f'teacher_ckpt={address!r}, which is not fetched: the teacher has '
                            'random weights')
            settings = {key: value for key, value in teacher.items() if key != 'pretrained'}
            model['teacher'] = MODELS.build(settings)
            _forget_addresses(model['teacher'])
            model.pop('teacher_ckpt', None)
    return model, left_out


def _forget_addresses(model: nn.Module) -> List[str]:
    """Take addresses out of what ``init_weights`` will load."""
    found: Dict[str, None] = {}
    for module in model.modules():
        init = getattr(module, 'init_cfg', None) or []
        parts = list(init) if isinstance(init, (list, tuple)) else [init]
        far = [part for part in parts if '://' in str(part.get('checkpoint'))]
        if far:
            module.init_cfg = [part for part in parts if part not in far]
            found.update({str(part['checkpoint']): None for part in far})
    return [f'the weights at {address}, which are not fetched' for address in found]


def _endless(loader: DataLoader) -> Iterator[Any]:
    while True:
        yield from loader


def _load(loader: DataLoader, images: int) -> tuple:
    """A batch of images spread over the data, loaded in this process, and the seconds it took."""
    dataset = loader.dataset
    start = time.perf_counter()
    items = [dataset[int((i + .5) * len(dataset) / images)] for i in range(images)]
    batch = loader.collate_fn(items)
    return batch, time.perf_counter() - start


class _one_line_if_too_large:
    """A GPU that has no memory left is said in one line."""

    def __init__(self, images: int) -> None:
        self.images = images

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, torch.cuda.OutOfMemoryError):
            raise ConfigError(f'does not fit: a step of {self.images} images ran out of memory: '
                              f'{str(error).splitlines()[0]}; fewer images, --amp, or '
                              "teacher_dtype='bf16' would need less") from error


def _places(model: nn.Module, shapes: places.Shapes) -> List[str]:
    if not places.places(model):
        return []
    return [f'where it reads, in a step of {FEW} images:',
            places.table(model, shapes).markdown(), '']


def _parameters(model: nn.Module) -> Table:
    student, teacher = getattr(model, 'architecture', model), getattr(model, 'teacher', None)
    count: Callable = lambda parts: sum(part.numel() for part in parts) / 1e6  # noqa: E731
    parts = dict(student=list(student.parameters()),
                 teacher=list(teacher.parameters()) if teacher is not None else [])
    known = {id(weight) for group in parts.values() for weight in group}
    parts['connectors and bridges'] = [w for w in model.parameters() if id(w) not in known]
    return Table(['parameters', 'million', 'of these trained'], [
        [name, count(group), count(w for w in group if w.requires_grad)]
        for name, group in parts.items() if group])


def _time(job: Job) -> List[str]:
    world = get_world_size()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else \
        f'{os.cpu_count()} CPUs, {torch.get_num_threads()} threads'
    waits = job.workers and job.load / job.workers > job.seconds
    rows = [[f'{world * more}' + (' (measured)' if more == 1 else ''), world * more * job.images,
             job.steps_with(world * more), job.steps_with(world * more) * job.wall / 3600]
            for more in MORE if job.steps_with(world * more)]
    return [f'a step of {job.images} images takes {job.seconds:.3g} s on {device}; to load them '
            f'takes one process {job.load:.3g} s, and num_workers={job.workers}',
            *(['WARNING: the step waits for its images: more workers, or lighter augmentation']
              if waits else []), '',
            Table(['processes', 'images a step', 'steps', 'hours'], rows).markdown(),
            'hours without validation; of more processes, without their communication']
