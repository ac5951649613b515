"""``tools/train.py --dry-run``: all of a training but its length, of which nothing is kept."""
import tempfile
import time
from functools import partial
from typing import Any, Iterator, List

import torch
from mmengine.config import Config
from mmengine.dist import all_reduce, is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop
from torch import nn
from torch.utils.data import DataLoader

from ..analysis import job_memory, job_text, places
from ..analysis.measure import saved_bytes, seconds_of
from ..errors import ConfigError
from . import command as cli
from . import offline

FEW = 2  # images of the first step, which tells the memory of a whole one


class Rehearsal(Runner):
    """Trains two steps in the place of a whole training, after a small one; prints what it saw."""

    left_out: List[str]

    def build_model(self, model: dict) -> nn.Module:
        """With random weights in the place of those that would have to be fetched."""
        model, self.left_out = offline.from_here(dict(model))
        built = super().build_model(model)
        self.left_out += offline.forget_addresses(built)
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
            saved = saved_bytes(partial(step, batch), model, with_backward=True)
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
        job = job_text.Job(images, seconds, load, loader.num_workers, loop.max_iters,
                           loop.max_epochs if by_epoch else 0, len(loader.dataset),
                           getattr(loader.batch_sampler, 'drop_last', False))
        if is_main_process():
            print('\n'.join([
                '', *job_text.places_read(model, shapes, few), *job_text.parameters(model),
                f'memory: {needs.text(images)}; the most that a process has had: '
                f'{job_memory.size(peak)}', *job.text(),
                *(f'left out here: {what}' for what in self.left_out), 'nothing was kept']))


def run(cfg: Config) -> None:
    """Rehearse a training that is ready to start."""
    left_out = offline.without_gpu(cfg)
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
