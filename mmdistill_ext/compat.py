"""The gaps between MMRazor 1.0.0, mmdet 3.3.0, mmengine and PyTorch; see also safe_load.py.

Nothing here imports torch or MMRazor at its top, so that ``mmdistill_ext.pth`` can run
:func:`let_mmrazor_import` when Python starts: MMRazor's own ``train.py`` imports all of MMRazor
before it reads the config that names this plugin.
"""
import sys
from importlib.machinery import PathFinder

# They build quantization tables at import time out of names that PyTorch 2 no longer has, and do
# so only where they see torch >= 1.13. Distillation needs none of the tables.
_TABLES = ('mmrazor.structures.quantization.backend_config.common_operator_config_utils',
           'mmrazor.structures.quantization.backend_config.mapping')


class _SkipTables:
    """Imports MMRazor's table modules as they import themselves on torch < 1.13.

    ``mmrazor.digit_version`` answers 1.12 while such a module runs and is put back afterwards,
    also when the import fails. torch is not touched.
    """

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in _TABLES:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None:
            spec.loader.exec_module = _exec_as_old_torch(spec.loader.exec_module)
        return spec


def _exec_as_old_torch(exec_module):

    def exec_(module):
        import mmrazor
        digit_version = mmrazor.digit_version
        mmrazor.digit_version = lambda version: digit_version(
            version if version == '1.13.0' else '1.12.0')
        try:
            exec_module(module)
        finally:
            mmrazor.digit_version = digit_version
            if hasattr(module, 'digit_version'):
                module.digit_version = digit_version

    return exec_


def let_mmrazor_import() -> None:
    """Let ``import mmrazor.models`` work on PyTorch 2. Calling it again does nothing."""
    if not any(getattr(finder, '__name__', '') == '_SkipTables' for finder in sys.meta_path):
        sys.meta_path.insert(0, _SkipTables)


def forbid_installing() -> None:
    """``get_config('package::...')`` of mmengine pip-installs what it does not find. Not here."""
    from mmengine.utils import package_utils

    from .errors import ConfigError

    def refuse(command: list) -> None:
        raise ConfigError(f'{command[-1]!r} is named in a config (as in {command[-1]}::...) and is '
                          f'not installed; to have it: pip install {command[-1]}')

    package_utils.call_command = refuse


def let_mmrazor_turn_inplace_off() -> None:
    """MMRazor sets ``inplace=False`` in its algorithms, or a ReLU would overwrite what a recorder
    holds. It walks through OrderedDicts; a newer PyTorch keeps modules in dicts, and it finds none.
    """
    from mmrazor.models.algorithms.base import BaseAlgorithm

    def turn_off(self, architecture, varstr: str) -> None:
        for module in architecture.modules():
            if hasattr(module, 'inplace'):
                module.inplace = False

    BaseAlgorithm.set_module_inplace_false = turn_off


def let_reppoints_train_on_a_gpu() -> None:
    """mmdet's PointAssigner makes an index on the CPU for points on the GPU (mmdetection#10436)."""
    import torch
    try:
        from mmdet.models.task_modules.assigners import PointAssigner
    except ImportError:
        return  # whoever trains no detectors may have no mmdet
    assign = PointAssigner.assign

    def assign_there(self, pred_instances, *args, **kwargs):
        with torch.device(pred_instances.priors.device):
            return assign(self, pred_instances, *args, **kwargs)

    PointAssigner.assign = assign_there


def enable() -> None:
    """Bridge every known gap. Called by ``import mmdistill_ext``."""
    from .checkpoints import load as safe_load
    from .checkpoints import save as safe_save
    let_mmrazor_import()
    let_mmrazor_turn_inplace_off()
    let_reppoints_train_on_a_gpu()
    safe_load.enable()
    safe_save.enable()
    forbid_installing()
