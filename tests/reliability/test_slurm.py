"""tools/slurm_train.sh under a real slurm, two tasks on one machine: make test-slurm."""
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mmdistill_ext  # noqa: F401, lets torch read mmengine's checkpoints
from tests.tools.toy import REPO, free_port, run, write

from .slurm_host import cluster, installed, wait

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(
    not installed(), reason='needs slurm-wlm and munge; `make test-slurm` installs them')]
SCRIPT = REPO / 'tools/slurm_train.sh'
TASKS = dict(GPUS='2', GPUS_PER_NODE='2', CPUS_PER_TASK='1', PYTHON=sys.executable,
             OMP_NUM_THREADS='1')
OPTIONS = ['--cfg-options', 'env_cfg.dist_cfg.backend=gloo', 'train_cfg.max_epochs=12']


@pytest.fixture(scope='module')
def slurm(tmp_path_factory):
    """The environment of a running cluster."""
    with cluster(tmp_path_factory.mktemp('slurm')) as environment:
        yield dict(environment, **TASKS)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path)
    return tmp_path


def ask(slurm, *command, cwd=None):
    done = subprocess.run([str(part) for part in command], env=slurm, cwd=cwd, text=True,
                          capture_output=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def facts(slurm, job):
    return dict(re.findall(r'(\w+)=(\S+)', ask(slurm, 'scontrol', 'show', 'job', job)))


def test_requeued_in_the_middle_it_finishes_as_the_run_left_alone(slurm, folder):
    """What pre-emption does: SIGTERM, SIGKILL, the queue again."""
    job = ask(slurm, 'sbatch', '--parsable', '--requeue', '--open-mode=append', '--output=out.txt',
              '--ntasks=2', '--gres=gpu:2', SCRIPT, 'part', 'toy', 'toy.py', 'cut', *OPTIONS,
              cwd=folder).strip()
    output, mark = folder / 'out.txt', folder / 'cut/last_checkpoint'
    wait(lambda: mark.exists() and 'epoch_2' in mark.read_text(), 'a second checkpoint', 120)
    ask(slurm, 'scontrol', 'requeue', job)
    wait(lambda: facts(slurm, job)['JobState'] == 'PENDING', 'the requeue')
    assert not (folder / 'cut/epoch_12.pth').exists()
    ask(slurm, 'scontrol', 'update', f'JobId={job}', 'StartTime=now')  # it would wait two minutes
    wait(lambda: facts(slurm, job)['JobState'] in ('COMPLETED', 'FAILED'), 'the end', 200)
    assert facts(slurm, job)['JobState'] == 'COMPLETED', output.read_text()
    assert facts(slurm, job)['Restarts'] == '1'
    text = output.read_text()
    assert re.search(r'GPU number: 2', text) and text.count('Distributed training: True') == 2
    resumed, = re.findall(r'resumed epoch: (\d+)', text)
    assert 2 <= int(resumed) < 12

    alone = run('bash', REPO / 'tools/dist_train.sh', 'toy.py', 2, '--work-dir', 'whole', *OPTIONS,
                cwd=folder, PORT=free_port())
    assert alone.returncode == 0, alone.stderr
    one, two = (torch.load(folder / name / 'epoch_12.pth') for name in ('cut', 'whole'))
    for key, value in one['state_dict'].items():
        assert torch.equal(value, two['state_dict'][key]), key
    for key, state in one['optimizer']['state'].items():
        assert torch.equal(state['momentum_buffer'],
                           two['optimizer']['state'][key]['momentum_buffer']), key


def test_without_sbatch_it_waits_for_the_end_and_gives_its_exit_code(slurm, folder):
    """As OpenMMLab's script does; a mistake is said once, in one line."""
    done = subprocess.run(
        ['bash', SCRIPT, 'part', 'toy', 'toy.py', 'work', *OPTIONS, 'model.type=LeanTeacherDistil'],
        env=slurm, cwd=folder, text=True, capture_output=True, timeout=300)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("did you mean 'LeanTeacherDistill'") == 1
    assert not (folder / 'work').exists()


def test_the_daemons_are_gone_afterwards(tmp_path):
    with cluster(tmp_path) as environment:
        assert ask(environment, 'srun', '--ntasks=1', 'echo', 'here') == 'here\n'
        assert running(tmp_path) >= {'munged', 'slurmctld', 'slurmd'}
    assert running(tmp_path) == set()


def running(folder):
    """Programs whose arguments or environment name the folder, and that are not these tests."""
    found = set()
    for process in Path('/proc').glob('[0-9]*'):
        try:
            told = (process / 'cmdline').read_bytes() + (process / 'environ').read_bytes()
            if str(folder).encode() in told:
                found.add((process / 'comm').read_text().strip())
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found
