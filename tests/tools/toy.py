"""A distillation that trains in a second, and the real commands run on it."""
import contextlib
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Tuple

import cv2
import numpy as np

REPO = Path(__file__).parents[2]
CONFIG = '''
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)
default_scope = 'mmpretrain'


def net(channels):
    return dict(
        _scope_='mmpretrain', type='ImageClassifier',
        data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor', mean=[120.] * 3,
                               std=[60.] * 3),
        backbone=dict(type='ResNet', depth=18, base_channels=channels, stem_channels=channels),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=2, in_channels=channels * 8,
                  loss=dict(type='CrossEntropyLoss')))


model = dict(
    _scope_='mmrazor', type='LeanTeacherDistill',
    architecture=net(4), teacher=net(8), random_teacher=True,
    distiller=dict(type='LinkDistiller', links=dict(loss_feature=dict(
        student='backbone', teacher='backbone', connector='MLPConnector',
        loss=dict(type='FeatureL2Loss', loss_weight=1e-4)))))
del net


pipeline = [dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=.5),
            dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root='{data}', data_prefix='train',
                 pipeline=pipeline))
val_dataloader = test_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root='{data}', data_prefix='train',
                 pipeline=pipeline))
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1,))
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)
val_cfg = test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=.01, momentum=.9))
default_hooks = dict(logger=dict(type='LoggerHook', interval=1),
                     checkpoint=dict(type='CheckpointHook', interval=1))
randomness = dict(seed=0)
custom_hooks = [dict(type='mmrazor.EpochSeedHook')]
auto_scale_lr = dict(base_batch_size=8)
'''


NEW_BASE = '''
from mmengine.dataset import DefaultSampler
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.optim import OptimWrapper
from mmpretrain.datasets import CustomDataset, LoadImageFromFile, PackInputs, RandomFlip
from mmpretrain.evaluation import Accuracy
from torch.optim import SGD

pipeline = [dict(type=LoadImageFromFile), dict(type=RandomFlip, prob=.5), dict(type=PackInputs)]
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(type=CustomDataset, data_root='{data}', data_prefix='train', pipeline=pipeline))
val_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(type=CustomDataset, data_root='{data}', data_prefix='train', pipeline=pipeline))
val_evaluator = dict(type=Accuracy, topk=(1,))
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)
val_cfg = dict()
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=.01))
default_hooks = dict(logger=dict(type=LoggerHook, interval=1),
                     checkpoint=dict(type=CheckpointHook, interval=1))
randomness = dict(seed=0)
'''
NEW = '''
from mmengine.config import read_base

with read_base():
    from .new_base import *

from mmpretrain.models import (ClsDataPreprocessor, CrossEntropyLoss, GlobalAveragePooling,
                               ImageClassifier, LinearClsHead, ResNet)

from mmdistill_ext.engine.hooks import EpochSeedHook, SameClassesHook
from mmdistill_ext.models.algorithms import LeanTeacherDistill
from mmdistill_ext.models.connectors import MLPConnector
from mmdistill_ext.models.distillers import LinkDistiller
from mmdistill_ext.models.losses import FeatureL2Loss

student = dict(
    type=ImageClassifier,
    data_preprocessor=dict(type=ClsDataPreprocessor, mean=[120.] * 3, std=[60.] * 3),
    backbone=dict(type=ResNet, depth=18, base_channels=4, stem_channels=4),
    neck=dict(type=GlobalAveragePooling),
    head=dict(type=LinearClsHead, num_classes=2, in_channels=32, loss=dict(type=CrossEntropyLoss)))
teacher = dict(
    student, backbone=dict(type=ResNet, depth=18, base_channels=8, stem_channels=8),
    head=dict(type=LinearClsHead, num_classes=2, in_channels=64, loss=dict(type=CrossEntropyLoss)))
model = dict(
    type=LeanTeacherDistill, architecture=student, teacher=teacher, random_teacher=True,
    distiller=dict(type=LinkDistiller, links=dict(loss_feature=dict(
        student='backbone', teacher='backbone', connector=dict(type=MLPConnector),
        loss=dict(type=FeatureL2Loss, loss_weight=1e-4)))))
custom_hooks = [dict(type=EpochSeedHook), dict(type=SameClassesHook)]
default_scope = 'mmpretrain'
'''


def new_style(data: Path) -> Tuple[str, str]:
    """The same in mmengine's new style: a base (``new_base.py``) and what stands on it."""
    return NEW_BASE.replace('{data}', str(data)), NEW


def write(folder: Path, images: int = 4) -> Path:
    """Two classes of random images and the config that distils on them; gives the config."""
    rng = np.random.default_rng(0)
    for name in ('a', 'b'):
        (folder / 'data/train' / name).mkdir(parents=True)
        for i in range(images):
            cv2.imwrite(str(folder / f'data/train/{name}/{i}.png'),
                        rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))
    config = folder / 'toy.py'
    config.write_text(CONFIG.replace('{data}', str(folder / 'data')))
    return config


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


def _call(script: str, arguments: list, cwd: str, out: str, error: str, env: dict) -> None:
    multiprocessing.set_start_method(None, force=True)  # as in a Python started by hand
    os.chdir(cwd)
    os.environ.update(env)
    sys.path[:0] = [path for path in env.get('PYTHONPATH', '').split(':') if path]
    sys.argv = [script, *arguments]
    with open(out, 'w', 1) as stdout, open(error, 'w', 1) as stderr:
        os.dup2(stdout.fileno(), 1), os.dup2(stderr.fileno(), 2)
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            runpy.run_path(script, run_name='__main__')


def tool(name: str, *arguments, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    """Run tools/NAME in a process of its own, forked from one that has the imports behind it."""
    # Else torch.cuda.is_available(), which libraries ask when they are imported, spoils the fork.
    os.environ['PYTORCH_NVML_BASED_CUDA_CHECK'] = '1'
    fork = multiprocessing.get_context('forkserver')
    fork.set_forkserver_preload(
        ['mmdistill_ext.cli.command', 'mmpretrain.models', 'mmpretrain.datasets'])
    script, arguments = str(REPO / 'tools' / name), [str(part) for part in arguments]
    with tempfile.TemporaryDirectory() as folder:
        files = [f'{folder}/out', f'{folder}/error']
        process = fork.Process(target=_call, args=(script, arguments, str(cwd), *files, env))
        process.start()
        process.join(300)
        return subprocess.CompletedProcess([script, *arguments], process.exitcode,
                                           *(Path(file).read_text() for file in files))


def run(*command, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    """Run a command from any folder, as a user does; `python` is the one that runs the tests."""
    command = [sys.executable if part == 'python' else str(part) for part in command]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable, **env})
