"""The rows on CIFAR-100: the recipes of ResNet-56 -> ResNet-20, shortened."""
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Optional

from mmengine.config import Config

from projects.where import HOME

EPOCHS, OF = 12, 240  # a twentieth of the recipes' training
FCFD = 'fcfd/cls/fcfd_resnet56_resnet20_1xb64_cifar100.py'
TFFD = 'tffd/cls/tffd_resnet20_1xb128_cifar100.py'
# What a result depends on; work_dir, imports and the teacher's path are not among it.
MADE_OF = ('model', 'train_dataloader', 'val_dataloader', 'optim_wrapper', 'param_scheduler',
           'train_cfg', 'custom_hooks', 'randomness')


@dataclass(frozen=True)
class RealRow:
    """A row of the table.

    Args:
        title (str): In the table.
        recipe (str): In ``configs``.
        paper (str): Top-1 that its paper reports after 240 epochs.
        alone (bool): Train the recipe's student alone, with the recipe's data and optimizer.
        alone_row (str): The student alone that was trained as this row is; gains are counted from
            it.
    """
    title: str
    recipe: str
    paper: str = ''
    alone: bool = False
    alone_row: str = 'student'


ROWS: Dict[str, RealRow] = dict(  # in the order in which they are run
    student=RealRow('student alone, ResNet-20', FCFD, '69.06', alone=True),
    fcfd=RealRow('FCFD, 2 paths', FCFD, '71.96'),
    kd=RealRow('KD', 'fcfd/cls/fcfd-kd_resnet56_resnet20_1xb64_cifar100.py', '70.66'),
    tffd=RealRow('Tf-FD, released', TFFD, '70.62', alone_row='student_tffd'),
    student_tffd=RealRow("student alone, Tf-FD's training", TFFD, alone=True,
                         alone_row='student_tffd'),
    tffd_paper=RealRow('Tf-FD, paper', 'tffd/cls/tffd-paper_resnet20_1xb128_cifar100.py',
                       alone_row='student_tffd'),
    fcfd_app=RealRow('FCFD, appearance only',
                     'fcfd/cls/fcfd-app_resnet56_resnet20_1xb64_cifar100.py'),
    tffd_logits=RealRow('Tf-FD, released, with logits of ResNet-56',
                        'tffd/cls/tffd-logits_resnet56_resnet20_1xb128_cifar100.py',
                        '71.56 (of ResNet-110)', alone_row='student_tffd'))


def config_of(row: RealRow, seed: int, work_dir: Path, epochs: int = EPOCHS) -> Config:
    """The recipe with a schedule of ``epochs``, in bfloat16, on one thread.

    Steps of the learning rate and the ramps of the losses come at the same fractions of the
    training, counted in iterations.

    Args:
        row (RealRow): Which.
        seed (int): Of the initial weights and the order of the data.
        work_dir (Path): Where logs and checkpoints go.
        epochs (int): Of 240.
    """
    config = Config.fromfile(HOME / 'configs' / row.recipe)
    batch = config.train_dataloader.batch_size
    iterations = epochs * -(-50000 // batch)
    share = iterations / OF  # of one epoch of the recipe
    for name in ('train', 'val', 'test'):
        loader = config[f'{name}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.type = 'StudyCIFAR100'
    config.optim_wrapper.type = 'BFloat16OptimWrapper'
    schedule = config.param_scheduler
    schedule.update(by_epoch=False, milestones=[round(m * share) for m in schedule.milestones])
    config.train_cfg.update(max_epochs=epochs, val_interval=2)
    hooks = config.get('custom_hooks', [])
    for hook in hooks:
        if hook.type == 'mmrazor.LossWeightHook':
            length = round(20 * share)  # both methods warm up over 20 of 240 epochs
            hook.update(by_epoch=False, phases=[
                dict(begin=0, end=length - 1, start=1 / length, stop=1.)])
    if row.alone:
        config.model, hooks = config.model.architecture, []
    config.custom_hooks = [*hooks, dict(type='mmrazor.EpochSeedHook')]
    config.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1, max_keep_ckpts=1)
    config.default_hooks.logger.interval = 100
    config.randomness = dict(seed=seed)
    config.work_dir = str(work_dir)
    config.resume = True
    return config


def made_of(config: Config) -> str:
    """Changes with what a result depends on, and not with where configs and code lie."""
    parts = {key: config.get(key) for key in MADE_OF}
    text = json.dumps(Config(dict(parts)).to_dict(), sort_keys=True, default=str)
    text = text.replace(json.dumps(_teacher(config)), '"teacher"')
    return hashlib.sha256(text.encode()).hexdigest()


def _teacher(config: Config) -> Optional[str]:
    return config.model.get('teacher_ckpt')
