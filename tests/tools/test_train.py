"""The commands as users run them."""
import os
import re
import shutil

import mmrazor
import pytest
import torch

from tests.tools.toy import REPO, free_port, new_style, run, tool, write

pytestmark = pytest.mark.train
THEIRS = '.mim/tools/train.py'


def weights(path):
    return torch.load(path, map_location='cpu', weights_only=False)['state_dict']


def assert_equal(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A folder with the toy's config and what training it from that folder left there."""
    folder = tmp_path_factory.mktemp('trained')
    write(folder)
    done = run('python', REPO / 'tools/train.py', 'toy.py', cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_train(trained):
    folder, done = trained
    assert 'distill.loss_feature' in done.stdout and 'accuracy/top1' in done.stdout
    assert (folder / 'work_dirs/toy/epoch_2.pth').exists()
    state = weights(folder / 'work_dirs/toy/epoch_2.pth')
    assert any(key.startswith('architecture.') for key in state)
    assert not any(key.startswith('teacher.') for key in state)
    assert done.stderr == ''


def test_resumed_is_the_run_left_alone(trained):
    """From what a run that was killed after its first epoch leaves behind."""
    folder, _ = trained
    (folder / 'cut').mkdir()
    shutil.copy(folder / 'work_dirs/toy/epoch_1.pth', folder / 'cut')
    (folder / 'cut/last_checkpoint').write_text(str(folder / 'cut/epoch_1.pth'))
    done = tool('train.py', 'toy.py', '--work-dir', 'cut', '--resume',
               cwd=folder)
    assert done.returncode == 0, done.stderr
    assert 'resumed epoch: 1' in done.stdout
    assert_equal(weights(folder / 'cut/epoch_2.pth'),
                 weights(folder / 'work_dirs/toy/epoch_2.pth'))


def test_auto_scale_lr_and_cfg_options(trained):
    folder, _ = trained
    done = tool('train.py', 'toy.py', '--work-dir', 'scaled',
               '--auto-scale-lr', '--cfg-options', 'train_cfg.max_epochs=1',
               'optim_wrapper.optimizer.lr=.04', cwd=folder)
    assert done.returncode == 0, done.stderr
    assert re.search(r'lr: 2\.0000e-02', done.stdout)  # .04 by 4 of 8
    assert not (folder / 'scaled/epoch_2.pth').exists()


def test_custom_imports_among_the_options(trained):
    """mmengine imports what the file names before it knows of the options."""
    folder, _ = trained
    (folder / 'late_plugin.py').write_text(
        'from mmengine.hooks import Hook\nfrom mmengine.registry import HOOKS\n\n\n'
        '@HOOKS.register_module()\nclass SayHello(Hook):\n'
        "    def before_train(self, runner):\n        print('hello from late_plugin')\n")
    done = tool('train.py', 'toy.py', '--work-dir', 'imports', '--cfg-options',
                'custom_imports.imports=late_plugin', 'train_cfg.max_epochs=1',
                'custom_hooks.0.type=SayHello', cwd=folder, PYTHONPATH=str(folder))
    assert done.returncode == 0, done.stderr
    assert 'hello from late_plugin' in done.stdout


def test_a_config_in_mmengines_new_style(trained):
    """Classes as types and ``read_base``: the same run, with each hook once."""
    folder, _ = trained
    base, model = new_style(folder / 'data')
    (folder / 'new_base.py').write_text(base)
    (folder / 'new.py').write_text(model)
    done = tool('train.py', 'new.py', '--cfg-options', 'optim_wrapper.optimizer.momentum=.9',
                cwd=folder)
    assert done.returncode == 0, done.stderr
    assert_equal(weights(folder / 'work_dirs/new/epoch_2.pth'),
                 weights(folder / 'work_dirs/toy/epoch_2.pth'))
    stages = done.stdout.split(' -------------------- ')[1:-1]
    for hook in ('SameClassesHook', 'FiniteLossHook', 'EpochSeedHook', 'WholeCheckpointHook'):
        assert max(stage.count(hook) for stage in stages) == 1


def test_mmrazors_own_train_py(trained):
    """It imports all of MMRazor before it reads custom_imports: -m mmdistill_ext is for that."""
    folder, _ = trained
    theirs = REPO.joinpath(mmrazor.__path__[0], THEIRS)
    done = run('python', '-m', 'mmdistill_ext', theirs, 'toy.py', '--work-dir', 'theirs',
               cwd=folder)
    assert done.returncode == 0, done.stderr
    assert 'distill.loss_feature' in done.stdout
    assert_equal(weights(folder / 'theirs/epoch_2.pth'),
                 weights(folder / 'work_dirs/toy/epoch_2.pth'))


def test_two_processes(trained):
    folder, _ = trained
    (folder / 'two.py').write_text(
        "_base_ = 'toy.py'\n"
        "custom_imports = dict(imports=['mmdistill_ext', 'tests.reliability.ranks_agree'])\n"
        "custom_hooks = [dict(type='RanksAgree')]\n")
    done = run('bash', REPO / 'tools/dist_train.sh', 'two.py', 2, '--work-dir', 'two',
               '--cfg-options', 'env_cfg.dist_cfg.backend=gloo', cwd=folder, PORT=free_port(),
               PYTHONPATH=str(REPO))
    assert done.returncode == 0, done.stderr
    assert re.findall('ranks agree after step (.)', done.stdout) == ['1', '2']
    assert (folder / 'two/epoch_2.pth').exists()
    assert re.search(r'Distributed training: True', done.stdout)
    assert re.search(r'GPU number: 2', done.stdout)
    assert 'Epoch(train) [2][1/1]' in done.stdout  # 8 images, 2 processes, batches of 4
    tested = run('bash', REPO / 'tools/dist_test.sh', 'toy.py', 'two/epoch_2.pth', 2,
                 '--work-dir', 'two_tested', '--cfg-options', 'env_cfg.dist_cfg.backend=gloo',
                 cwd=folder, PORT=free_port())
    assert tested.returncode == 0, tested.stderr
    assert 'accuracy/top1' in tested.stdout


def test_mistakes_of_two_processes_are_said_once(trained):
    folder, _ = trained
    done = run('bash', REPO / 'tools/dist_train.sh', 'toy.py', 2, '--work-dir', 'none',
               '--cfg-options', 'env_cfg.dist_cfg.backend=gloo', 'model.type=LeanTeacherDistil',
               cwd=folder, PORT=free_port())
    assert done.returncode != 0, done.stdout
    assert done.stderr.count("did you mean 'LeanTeacherDistill'") == 1
    assert not (folder / 'none').exists()


def test_ranks_without_gpus_are_asked_for_gloo(trained):
    folder, _ = trained
    done = run('bash', REPO / 'tools/dist_train.sh', 'toy.py', 1, '--work-dir', 'none',
               cwd=folder, PORT=free_port())
    assert done.returncode != 0
    assert 'ERROR: --launcher pytorch with the backend nccl needs GPUs' in done.stderr
    assert not (folder / 'none').exists()


@pytest.mark.parametrize('script, arguments, expected', [
    ('slurm_train.sh', ['part', 'job', 'toy.py', 'wd', '--amp'],
     'tools/train.py toy.py --work-dir=wd --launcher=slurm --amp'),
    ('slurm_train.sh', ['part', 'job', 'toy.py', '--amp'],
     'tools/train.py toy.py --launcher=slurm --amp'),
    ('slurm_test.sh', ['part', 'job', 'toy.py', 'a.pth', '--work-dir', 'x y'],
     'tools/test.py toy.py a.pth --launcher=slurm --work-dir x y'),
])
def test_what_slurm_is_told(tmp_path, script, arguments, expected):
    """With an srun that writes down its arguments; the real one is in `make test-slurm`."""
    srun = tmp_path / 'bin/srun'
    srun.parent.mkdir()
    srun.write_text('#!/bin/sh\necho "$@"\n')
    srun.chmod(0o755)
    done = run('bash', REPO / 'tools' / script, *arguments, cwd=tmp_path,
               PATH=f'{srun.parent}:{os.environ["PATH"]}', GPUS='16', CPUS_PER_TASK='3',
               SRUN_ARGS='--quotatype=spot --time=1')
    assert done.returncode == 0, done.stderr
    told = done.stdout.strip()
    for part in ('-p part', '--job-name=job', '--gres=gpu:8', '--ntasks=16', '--ntasks-per-node=8',
                 '--cpus-per-task=3', '--kill-on-bad-exit=1', '--quotatype=spot --time=1'):
        assert part in told
    assert told.endswith(expected)
