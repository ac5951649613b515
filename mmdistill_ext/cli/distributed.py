"""Joining and leaving the ranks of a distributed run."""
import atexit
import os
import sys

import torch
from mmengine.config import Config
from mmengine.dist import init_dist, is_distributed

from ..errors import ConfigError


def join(cfg: Config) -> None:
    """Join the ranks where there is no GPU, where mmengine would put each on one anyway.

    For tests and small machines; mmengine's Runner finds it done.
    """
    if cfg.launcher == 'none' or torch.cuda.is_available() or is_distributed():
        return  # is_distributed: a tool that runs two runners has joined for the first
    dist_cfg = dict(cfg.get('env_cfg', {}).get('dist_cfg') or dict(backend='nccl'))
    if dist_cfg.get('backend') == 'nccl':
        raise ConfigError(f'--launcher {cfg.launcher} with the backend nccl needs GPUs, and torch '
                          'sees none: --cfg-options env_cfg.dist_cfg.backend=gloo')
    set_device = torch.cuda.set_device
    torch.cuda.set_device = lambda device: None  # the one line of init_dist that cannot work
    try:
        init_dist(cfg.launcher, **dist_cfg)
    finally:
        torch.cuda.set_device = set_device
    if cfg.get('model_wrapper_cfg') is None:
        cfg.model_wrapper_cfg = dict(
            type='mmengine.MMDistributedDataParallel', broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False))
    cfg.model_wrapper_cfg.setdefault('device_ids', None)


def leave() -> None:
    """End a rank whose work is done, together with the others; nothing where there are no ranks.

    The threads of gloo outlive ``destroy_process_group``. One that still lets go of a tensor while
    the interpreter shuts down aborts the process, and a finished run has failed (pytorch#179291).
    So what Python does at exit is done here, and the interpreter is not shut down.
    """
    if not torch.distributed.is_initialized():
        return
    torch.distributed.barrier()  # nobody takes the store away from a rank that still works
    torch.distributed.destroy_process_group()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
