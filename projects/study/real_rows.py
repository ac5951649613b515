"""The rows on CIFAR-100: the recipes of ResNet-56 -> ResNet-20, shortened."""
import copy
import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, NamedTuple, Optional, Tuple

from mmengine.config import Config

from projects.where import HOME

EPOCHS, OF = 12, 240  # a twentieth of the recipes' training
IMAGES, HELD_OUT = 50000, 5000
CHOICE_EPOCHS, CHOICE_SEED = 4, 100  # of the runs that a factor is chosen by
FACTORS = (.1, .3, 1., 3., 10.)  # on weights that are no paper's
FCFD = 'configs/fcfd/cls/fcfd_resnet56_resnet20_1xb64_cifar100.py'
TFFD = 'configs/tffd/cls/tffd_resnet20_1xb128_cifar100.py'
# What a result depends on; work_dir, imports and the teacher's path are not among it.
MADE_OF = ('model', 'train_dataloader', 'val_dataloader', 'optim_wrapper', 'param_scheduler',
           'train_cfg', 'custom_hooks', 'randomness')


@dataclass(frozen=True)
class RealRow:
    """A row of the table.

    Args:
        title (str): In the table.
        recipe (str): Its path.
        paper (str): Top-1 that its paper reports after 240 epochs.
        alone (bool): Train the recipe's student alone, with the recipe's data and optimizer.
        alone_row (str): The student alone that was trained as this row is; gains are counted from
            it.
        values (tuple[float]): What a factor on the recipe's weights is chosen from.
    """
    title: str
    recipe: str
    paper: str = ''
    alone: bool = False
    alone_row: str = 'student'
    values: Tuple[float, ...] = ()


ROWS: Dict[str, RealRow] = dict(  # in the order in which they are run
    student=RealRow('student alone, ResNet-20', FCFD, '69.06', alone=True),
    fcfd=RealRow('FCFD, 2 paths', FCFD, '71.96'),
    kd=RealRow('KD', 'configs/fcfd/cls/fcfd-kd_resnet56_resnet20_1xb64_cifar100.py',
               "70.66 (CRD's)"),
    tffd=RealRow('Tf-FD, released', TFFD, '70.62', alone_row='student_tffd'),
    mlp=RealRow('channel MLP', 'configs/mlp/cls/mlp_backbone_resnet56_resnet20_1xb64_cifar100.py',
                values=FACTORS),
    student_tffd=RealRow("student alone, Tf-FD's training", TFFD, alone=True,
                         alone_row='student_tffd'),
    tffd_paper=RealRow('Tf-FD, paper', 'configs/tffd/cls/tffd-paper_resnet20_1xb128_cifar100.py',
                       alone_row='student_tffd', values=FACTORS),
    fcfd_app=RealRow('FCFD, no path (KD and appearance)',
                     'configs/fcfd/cls/fcfd-app_resnet56_resnet20_1xb64_cifar100.py'),
    tffd_logits=RealRow('Tf-FD, released, with logits of ResNet-56',
                        'configs/tffd/cls/tffd-logits_resnet56_resnet20_1xb128_cifar100.py',
                        '71.56 (of ResNet-110)', alone_row='student_tffd'),
    dkd=RealRow('DKD (MMRazor)', 'projects/study/configs/dkd.py', '71.97'))


# Beside what each adds to the student alone.
PAIRS = (('fcfd', 'kd'), ('mlp', 'kd'), ('fcfd', 'mlp'), ('fcfd', 'fcfd_app'),
         ('fcfd_app', 'kd'), ('fcfd', 'dkd'), ('mlp', 'dkd'))


class Run(NamedTuple):
    """One training.

    Args:
        row (str): A key of ``ROWS``.
        seed (int): Of the initial weights and the order of the data.
        factor (float): On the weights of the recipe's distillation losses. Defaults to 1.
        choice (bool): A short run by which the factor is chosen: every tenth image of the training
            set is held out and judged on. Defaults to False.
    """
    row: str
    seed: int
    factor: float = 1.
    choice: bool = False

    @property
    def folder(self) -> str:
        kind = f'choice-{self.factor:g}' if self.choice else f'seed-{self.seed}'
        return f'{self.row}/{kind}'


@functools.lru_cache(None)
def _recipe(path: str) -> Config:
    return Config.fromfile(HOME / path)


def config_of(run: Run, work_dir: Path, epochs: int = EPOCHS) -> Config:
    """The recipe with a schedule of ``epochs``, in bfloat16, on one thread.

    Steps of the learning rate and the ramps of the losses come at the same fractions of the
    training, counted in iterations.

    Args:
        run (Run): Which.
        work_dir (Path): Where logs and checkpoints go.
        epochs (int): Of 240; a choice has its own.
    """
    row = ROWS[run.row]
    config = copy.deepcopy(_recipe(row.recipe))
    batch = config.train_dataloader.batch_size
    images, epochs = (IMAGES - HELD_OUT, CHOICE_EPOCHS) if run.choice else (IMAGES, epochs)
    iterations = epochs * -(-images // batch)
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
    if run.choice:
        config.train_dataloader.dataset.fold = 'train'
        config.val_dataloader.dataset.update(split='train', fold='held out')
    if run.factor != 1:
        for link in config.model.distiller.links.values():
            link.loss.loss_weight *= run.factor
    if row.alone:
        config.model, hooks = config.model.architecture, []
    config.custom_hooks = [*hooks, dict(type='mmrazor.EpochSeedHook')]
    config.default_hooks.checkpoint = dict(
        type='mmrazor.WholeCheckpointHook', interval=1, max_keep_ckpts=1)  # it may be killed
    config.default_hooks.logger.interval = 100
    config.randomness = dict(seed=run.seed)
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
