"""The gaps between MMRazor 1.0.0, mmdet 3.3.0, mmengine and PyTorch: one table, nothing else.

Nothing here imports torch or MMRazor at its top, so ``python compat.py SCRIPT`` can bridge the
first gap for a script that imports all of MMRazor.
"""
import functools
import os
import runpy
import sys
from importlib.machinery import PathFinder
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

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


def let_mmrazor_import() -> Optional[str]:
    """Let ``import mmrazor.models`` work on PyTorch 2. Calling it again does nothing."""
    if not any(getattr(finder, '__name__', '') == '_SkipTables' for finder in sys.meta_path):
        sys.meta_path.insert(0, _SkipTables)
    return None


def let_mmrazor_turn_inplace_off() -> Optional[str]:
    """MMRazor sets ``inplace=False`` in its algorithms, or a ReLU would overwrite what a recorder
    holds. It walks through OrderedDicts; a newer PyTorch keeps modules in dicts, and it finds none.
    """
    from mmrazor.models.algorithms.base import BaseAlgorithm

    def turn_off(self, architecture, varstr: str) -> None:
        for module in architecture.modules():
            if hasattr(module, 'inplace'):
                module.inplace = False

    BaseAlgorithm.set_module_inplace_false = turn_off
    return None


def let_reppoints_train_on_a_gpu() -> Optional[str]:
    """mmdet's PointAssigner makes an index on the CPU for points on the GPU (mmdetection#10436)."""
    import torch
    try:
        from mmdet.models.task_modules.assigners import PointAssigner
    except ImportError:
        return 'no mmdet here'
    assign = PointAssigner.assign
    if hasattr(assign, 'mmdistill_ext'):
        return None  # is bridged already, and somebody else's wrapper around it says so too

    @functools.wraps(assign)
    def assign_there(self, pred_instances, *args, **kwargs):
        with torch.device(pred_instances.priors.device):
            return assign(self, pred_instances, *args, **kwargs)

    assign_there.mmdistill_ext = True  # type: ignore[attr-defined]
    PointAssigner.assign = assign_there
    return None


def let_checkpoints_load() -> Optional[str]:
    """From PyTorch 2.6 on, ``torch.load`` refuses what mmengine's own checkpoints hold."""
    import torch
    from mmengine.utils import digit_version
    if digit_version(torch.__version__) < digit_version('2.6.0'):
        return 'torch before 2.6 reads them'
    from .checkpoints.load import known_globals
    torch.serialization.add_safe_globals([(v, k) for k, v in known_globals().items()])
    return None


class Patch(NamedTuple):
    """A gap and what bridges it; ``apply`` returns why there is nothing to bridge, if so."""
    name: str
    target: str
    why: str
    issue: str
    since: str
    until: str
    apply: Callable[[], Optional[str]]


IMPORT = 'import-mmrazor'
NO_ISSUE = 'none known'
PATCHES = (
    Patch(IMPORT, 'sys.meta_path', 'MMRazor builds tables of names that PyTorch 2 has not',
          NO_ISSUE, 'torch 2.0', 'mmrazor 1.0.0, its last release', let_mmrazor_import),
    Patch('mmrazor-inplace', 'mmrazor BaseAlgorithm.set_module_inplace_false',
          'MMRazor finds no modules where PyTorch keeps them in a dict', NO_ISSUE,
          'torch later than 2.1', 'mmrazor 1.0.0, its last release',
          let_mmrazor_turn_inplace_off),
    Patch('reppoints-on-gpu', 'mmdet PointAssigner.assign',
          'an index on the CPU for points on the GPU', 'mmdetection#10436', 'torch 2.0',
          'mmdet 3.3.0, its last release', let_reppoints_train_on_a_gpu),
    Patch('load-checkpoints', 'torch.serialization.add_safe_globals',
          "torch.load refuses what mmengine's checkpoints hold", NO_ISSUE, 'torch 2.6',
          'mmengine 0.10.7', let_checkpoints_load),
)
SKIP = 'MMDISTILL_EXT_SKIP_PATCHES'  # names, with commas between them
APPLIED = 'applied'
_applied: Dict[str, str] = {}  # name -> 'applied', or why not


def _skipped() -> Tuple[str, ...]:
    names = tuple(name.strip() for name in os.environ.get(SKIP, '').split(',') if name.strip())
    for name in names:
        if name not in [patch.name for patch in PATCHES]:
            from .errors import ConfigError
            known = ', '.join(patch.name for patch in PATCHES)
            raise ConfigError(f'{SKIP}: no patch is named {name!r}; expected some of {known}')
    return names


def enable() -> None:
    """Bridge every gap that ``MMDISTILL_EXT_SKIP_PATCHES`` does not name; each one once.

    Raises:
        ImportError: MMRazor cannot be imported, because the patch for that was left out.
    """
    skipped = _skipped()
    for patch in PATCHES:
        if patch.name in _applied:
            continue
        if patch.name not in skipped:
            _applied[patch.name] = patch.apply() or APPLIED
            continue
        if patch.name == IMPORT:
            try:
                import mmrazor.models  # noqa: F401
            except (AttributeError, ImportError) as error:
                raise ImportError(
                    f'{SKIP} leaves out {IMPORT!r}, without which MMRazor 1.0.0 cannot be '
                    f'imported on PyTorch 2 ({error})') from None
        _applied[patch.name] = f'left out by {SKIP}'


def summary() -> str:
    """One line: which patches are applied, and which were left out."""
    applied = ', '.join(name for name, what in _applied.items() if what == APPLIED) or 'none'
    others = ''.join(f'; not {name}: {what}' for name, what in _applied.items() if what != APPLIED)
    return f'mmdistill_ext patches: {applied}{others}'


def main(argv: List[str]) -> None:
    """Run a script with MMRazor importable, or print the table of patches.

    Args:
        argv (list[str]): The script and its arguments.
    """
    if not argv:
        for patch in PATCHES:
            print(f'{patch.name}: {patch.target}: {patch.why} (issue: {patch.issue}; from '
                  f'{patch.since}, until {patch.until})')
        return
    if IMPORT not in _skipped():
        let_mmrazor_import()
    sys.argv = argv
    sys.path[0] = os.path.dirname(os.path.abspath(argv[0]))
    runpy.run_path(argv[0], run_name='__main__')


if __name__ == '__main__':
    main(sys.argv[1:])
