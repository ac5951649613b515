"""Timing and counting the bench's rows, group by group."""
import platform
import statistics
from pathlib import Path
from typing import Any, Callable, Dict, List

import torch

from mmdistill_ext.analysis.measure import (
    flops_of,
    interleaved_times,
    matmul_speed,
    peak_bytes,
    profiled,
    saved_bytes,
    shares,
)
from mmdistill_ext.errors import ConfigError, nearest

from .batches import random_batch
from .host import host_times
from .operators import CAST, of_a_second_run
from .rows_fcfd_tffd import OTHERS
from .rows_mlp import TASKS, Row, mlp_rows
from .startup import start_up_rows

START_UP, HOST = 'start-up', 'host'
WARM_UP = dict(cpu=1, cuda=3)  # rounds; a GPU chooses its kernels and fills its memory pool
GROUPS = (*TASKS, *OTHERS, HOST, START_UP)


def machine(device: str, amp: bool) -> dict:
    """What runs the bench, and how many GFLOP/s it reaches in a matrix product."""
    name = torch.cuda.get_device_name() if device == 'cuda' else _processor()
    speeds = {str(dtype).split('.')[1]: matmul_speed(dtype, device)
              for dtype in (torch.float32, torch.bfloat16)}
    full = 'float32' if device == 'cpu' else 'float32 (convolutions in TF32, as PyTorch has it)'
    return dict(device=name, threads=torch.get_num_threads(), torch=torch.__version__,
                precision='bf16 mixed' if amp else full, **speeds)


def _processor() -> str:
    info = Path('/proc/cpuinfo')
    names = [line.split(':')[1].strip() for line in info.read_text().splitlines()
             if line.startswith('model name')] if info.is_file() else []
    return names[0] if names else platform.processor()


def run_group(group: str, row: str, rounds: int, device: str, amp: bool, out: Path) -> dict:
    """Row -> its figures.

    Args:
        group (str): One of ``GROUPS``.
        row (str): The only row that is wanted, or '' for all.
        rounds (int): How often each row is timed, at least.
        device (str): 'cpu' or 'cuda'.
        amp (bool): Whether the steps run in bf16 mixed precision.
        out (Path): A folder for what the start-up needs.
    """
    if group == START_UP:
        starts = _chosen(start_up_rows(out / 'start_up'), group, row)
        return _start_up(starts)
    if group == HOST:
        times = _chosen(host_times(rounds), group, row)
        return {name: _times(seconds) for name, seconds in times.items()}
    torch.backends.cudnn.benchmark = group == 'seg'  # as the recipes have it
    if group in TASKS:
        builders = mlp_rows(group, random_batch(group, TASKS[group]().shapes[device], device))
    else:
        shapes, others = OTHERS[group]
        builders = others(random_batch('cls', shapes[device], device))
    rows = {name: builder() for name, builder in _chosen(builders, group, row).items()}
    for built in rows.values():
        built.amp = amp
    return _measure(rows, rounds, device)


def _chosen(rows: Dict[str, Any], group: str, row: str) -> Dict[str, Any]:
    if row and row not in rows:
        raise ConfigError(f'--row: {group} has no {row!r}; {nearest(row, list(rows))}')
    return {row: rows[row]} if row else rows


def _measure(rows: Dict[str, Row], rounds: int, device: str) -> dict:
    results: Dict[str, dict] = {
        name: dict(distill_loss=row.distill_loss()) if row.distill_loss else {}
        for name, row in rows.items()}  # before a step has moved anything
    most = max(len(row.cases) for row in rows.values())
    times = interleaved_times(
        {name: row.step for name, row in rows.items()}, -(-rounds // most) * most,
        warm_up=WARM_UP[device],
        before=lambda name, i: rows[name].cases[i % len(rows[name].cases)]())
    for name, row in rows.items():
        flops, saved = [], []
        for case in row.cases:
            case()
            flops.append(flops_of(row.step))
            saved.append(saved_bytes(row.forward, row.model, row.given))
        dispatched = of_a_second_run(row.loss)
        operators, kernels = profiled(row.step)
        results[name].update(
            _times(times[name], len(row.cases)), shares=shares(operators),
            gflop=statistics.mean(flops) / 1e9, saved_mb=max(saved) / 1e6,
            operators=dispatched.total(), casts=dispatched[CAST],
            checkpoint_mb=sum(t.numel() * t.element_size()
                              for t in row.model.state_dict().values()) / 1e6)
        if device == 'cuda':
            results[name].update(kernel_seconds=kernels, peak_mb=peak_bytes(row.step) / 1e6)
    return results


def _times(times: List[float], cases: int = 1) -> dict:
    """The median, averaged over the cases, which were timed in turn."""
    return dict(seconds=statistics.mean(statistics.median(times[case::cases])
                                        for case in range(cases)),
                fastest=min(times), slowest=max(times))


def _start_up(starts: Dict[str, Callable[[], float]], rounds: int = 3) -> dict:
    """Processes started in turn, after one each that fills the disk's cache."""
    times: Dict[str, list] = {name: [] for name in starts}
    for round_ in range(-1, rounds):
        for name, start in starts.items():
            seconds = start()
            if round_ >= 0:
                times[name].append(seconds)
    return {name: _times(seconds) for name, seconds in times.items()}
