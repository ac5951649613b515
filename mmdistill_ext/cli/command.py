"""What ``tools/train.py`` and ``tools/test.py`` have in common, with MMRazor's option names."""
import argparse
import difflib
import inspect
import logging
import os
import shutil
import signal
import sys
import time
from typing import Any, Callable, Optional, Sequence, Set

import torch
from mmengine.config import Config, DictAction
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings, is_installed
from mmrazor.utils import register_all_modules

from ..errors import ConfigError, NumbersError, nearest
from . import distributed
from .messages import EXIT_CODE, one_line_message

TRAIN = ('train_dataloader', 'train_cfg', 'optim_wrapper')
TEST = ('test_dataloader', 'test_cfg', 'test_evaluator')
GUARDS = ('SameClassesHook', 'FiniteLossHook')
# Read by mmengine from the config itself, beside the arguments of its Runner.
CONFIG_KEYS = ('default_scope', 'custom_imports', 'env_cfg', 'find_unused_parameters', 'sync_bn',
               'model_wrapper_cfg', 'compile', 'activation_checkpointing',
               'efficient_conv_bn_eval', 'tta_model', 'tta_pipeline')


class Options(DictAction):
    """mmengine's ``--cfg-options`` with a word for what is not ``key=value``."""

    def __call__(self, parser, namespace, values, option_string=None):
        for value in values:
            if '=' not in value:
                raise ConfigError(f'--cfg-options takes key=value pairs, found {value!r}')
        try:
            super().__call__(parser, namespace, values, option_string)
        except (ValueError, AssertionError, IndexError) as error:
            raise ConfigError(f'--cfg-options {" ".join(values)}: {error}') from error


def parser(description: str) -> argparse.ArgumentParser:
    """The options that training and testing share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='the config, a .py file')
    parser.add_argument('--work-dir', help='where logs and checkpoints go')
    parser.add_argument('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE',
                        help='override settings of the config: model.teacher_dtype=bf16; a list '
                        'as key="[a,b]" or key=a,b, nested as key="[(a,b),(c,d)]"')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    return parser


def load_config(args: argparse.Namespace, needs: Sequence[str]) -> Config:
    """Read the config, apply the options, check that it has what is needed."""
    register_all_modules(init_default_scope=False)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if not os.path.isfile(args.config):
        raise ConfigError(f'no config at {args.config}')
    try:
        cfg = Config.fromfile(args.config)
    except Exception as error:  # a config is the user's own code, which may raise anything
        what = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        raise ConfigError(f'{args.config}: {type(error).__name__}: {what}') from error
    _merge(cfg, args.cfg_options or {})
    check_names(cfg, args.config)
    check_packages(cfg._cfg_dict)
    cfg.launcher = args.launcher
    for key in ('model', *needs):
        if cfg.get(key) is None:
            raise ConfigError(f'{args.config} has no {key!r}, which is needed here')
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = os.path.splitext(os.path.basename(args.config))[0]
        cfg.work_dir = os.path.join('./work_dirs', name)
    return cfg


def known_names() -> Set[str]:
    """What mmengine reads in a config."""
    return {*inspect.signature(Runner.__init__).parameters, *CONFIG_KEYS}


def check_names(cfg: Config, path: str) -> None:
    """Stop at a name that is nearly one that mmengine reads, which takes it for a variable.

    Where the config has both, as some of the libraries' own, a warning will do.
    """
    known = known_names()
    for name in {*cfg} - known:
        for meant in difflib.get_close_matches(name, known, n=1, cutoff=.9):
            line = f'{path}: nothing reads {name!r}; did you mean {meant!r}?'
            if meant not in cfg:
                raise ConfigError(line)
            print_log(line, level=logging.WARNING)


def _merge(cfg: Config, options: dict) -> None:
    known = {*cfg, *known_names()}
    for key in options:
        top = key.split('.')[0]
        if top not in known:
            raise ConfigError(f'--cfg-options {key}: the config has no {top!r}; '
                              f'{nearest(top, sorted(known))}')
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ConfigError(f'--cfg-options {" ".join(options)}: {error}') from error
    if any(key.split('.')[0] == 'custom_imports' for key in options):
        try:  # mmengine imports while it reads the file, before it knows of the options
            import_modules_from_strings(**cfg.custom_imports)
        except (ImportError, TypeError) as error:
            raise ConfigError(f'--cfg-options custom_imports: {error}; expected modules on the '
                              'path (PYTHONPATH)') from error


def use_amp(cfg: Config) -> None:
    """``--amp``: mixed precision in the optimizer wrapper, or in the student's of several."""
    wrapper = cfg.optim_wrapper.get('architecture', cfg.optim_wrapper)
    kind = _type_name(wrapper.get('type', 'OptimWrapper'))
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ConfigError(f"--amp needs optim_wrapper.type='OptimWrapper', found {kind!r}")
    if not torch.cuda.is_available():
        raise ConfigError('--amp needs a GPU, and torch sees none')
    wrapper.type = 'AmpOptimWrapper'
    wrapper.setdefault('loss_scale', 'dynamic')


def _type_name(kind: Any) -> str:
    """The name of a type, which a config in mmengine's new style has as a class."""
    return kind.__name__ if isinstance(kind, type) else str(kind).split('.')[-1]


def use_auto_scale_lr(cfg: Config) -> None:
    """``--auto-scale-lr``: the learning rate by the real batch size, as the config allows."""
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise ConfigError('--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in the '
                          'config')
    cfg.auto_scale_lr.enable = True


def check_packages(cfg: Any) -> None:
    """Stop where a config names a package that mmengine's hub would install with pip."""
    if isinstance(cfg, dict):
        path = cfg.get('cfg_path')
        package = path.split('::')[0] if isinstance(path, str) and '::' in path else ''
        if package in MODULE2PACKAGE and not is_installed(MODULE2PACKAGE[package]):
            raise ConfigError(f'{MODULE2PACKAGE[package]!r} is named in a config (as in '
                              f'{path}) and is not installed; to have it: '
                              f'pip install {MODULE2PACKAGE[package]}')
    if isinstance(cfg, (dict, list, tuple)):
        for part in cfg.values() if isinstance(cfg, dict) else cfg:
            check_packages(part)


def save_whole_files(cfg: Config) -> None:
    """Put ``WholeCheckpointHook`` where the config has mmengine's ``CheckpointHook``."""
    if cfg.get('default_hooks') is None:
        cfg.default_hooks = dict()
    cfg.default_hooks.setdefault('checkpoint', dict(type='CheckpointHook', interval=1))
    for hook in (cfg.default_hooks.checkpoint, *(cfg.get('custom_hooks') or [])):
        if isinstance(hook, dict) and hook.get('type') in (
                'CheckpointHook', 'mmengine.CheckpointHook', CheckpointHook):
            hook['type'] = 'mmrazor.WholeCheckpointHook'


def add_guards(cfg: Config, guards: Sequence[str] = GUARDS) -> None:
    """The hooks that a run should not be without, unless the config names them itself."""
    hooks = list(cfg.get('custom_hooks') or [])
    named = {_type_name(hook.get('type')) for hook in hooks if isinstance(hook, dict)}
    missing = [dict(type=f'mmrazor.{guard}') for guard in guards if guard not in named]
    cfg.custom_hooks = hooks + missing


def run(cfg: Config, work: Callable[[Runner], None], runner_type=Runner) -> None:
    """Build the runner and let it work; a mistake found before the first step leaves no folder."""
    folder, runner = NewFolder(cfg.work_dir), None
    try:
        distributed.join(cfg)
        add_guards(cfg, ['ListPatchesHook'])
        runner = runner_type.from_cfg(cfg)
        work(runner)
    except Exception as error:
        begun = runner is not None and runner.message_hub.get_info('iter', 0)
        if one_line_message(error) and not begun and not isinstance(error, NumbersError):
            folder.remove()
        raise


def main(work: Callable[[Optional[Sequence[str]]], Optional[int]], resumable: bool = False) -> None:
    """Call the tool; one line and exit code 2 for a user's mistake, a traceback for ours.

    Args:
        work (Callable): The tool. It returns its exit code, or None for 0.
        resumable (bool): The same command goes on after Ctrl-C or SIGTERM; a line says so and the
            exit code is 130. Defaults to False.
    """
    if resumable:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = work(None)
    except KeyboardInterrupt:
        if not resumable:
            raise
        print('\nstopped; the same command goes on from here', file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        line = one_line_message(error)
        if line is None:
            raise
        leave(line)
    distributed.leave()
    if code:
        sys.exit(code)


class NewFolder:
    """A folder that goes away again, with the parents made for it, if nothing came of it."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        missing, self.made = self.path, []
        while not os.path.exists(missing):
            self.made.append(missing)
            missing = os.path.dirname(missing)

    def remove(self) -> None:
        if self.made:
            shutil.rmtree(self.path, ignore_errors=True)
        for parent in self.made[1:]:
            if os.path.isdir(parent) and not os.listdir(parent):
                os.rmdir(parent)


def leave(line: str) -> None:
    """Print the line and end the process; of many ranks with the same mistake, the first does."""
    rank = int(os.environ.get('RANK', os.environ.get('SLURM_PROCID', '0')))
    if rank:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(EXIT_CODE))  # not 143
        time.sleep(10)  # the launcher ends us meanwhile, unless rank 0 is well and we are not
        line = f'[rank {rank}] {line}'
    print(f'ERROR: {line}', file=sys.stderr, flush=True)
    sys.exit(EXIT_CODE)
