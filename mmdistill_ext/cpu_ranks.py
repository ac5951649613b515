"""Many ranks without a GPU, for tests and small machines: mmengine puts each rank on one."""
import torch
from mmengine.config import Config
from mmengine.dist import init_dist

from .errors import ConfigError


def start(cfg: Config) -> None:
    """Join the ranks where there is no GPU; mmengine's Runner finds it done."""
    if cfg.launcher == 'none' or torch.cuda.is_available():
        return
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
