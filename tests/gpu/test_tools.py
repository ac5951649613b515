"""The commands on a GPU, in full and in mixed precision."""
import re
import shutil

import pytest
import torch

from tests.tools.toy import tool, write

pytestmark = pytest.mark.gpu
# The same every time, where PyTorch can; cuBLAS asks for the variable.
SAME = ('--cfg-options', 'randomness.deterministic=True')
ENV = dict(CUBLAS_WORKSPACE_CONFIG=':4096:8')


def weights(path):
    """Where they were saved from, not mapped anywhere: a file to be read without a GPU."""
    return torch.load(path, weights_only=False)['state_dict']


@pytest.mark.parametrize('amp', [[], ['--amp']], ids=['float32', 'amp'])
def test_train_resume_test_and_export(tmp_path, amp):
    write(tmp_path)
    done = tool('train.py', 'toy.py', '--work-dir', 'whole', *amp, *SAME, cwd=tmp_path, **ENV)
    assert done.returncode == 0, done.stderr
    assert 'distill.loss_feature' in done.stdout
    assert 'memory: ' in done.stdout  # of a GPU
    trained = weights(tmp_path / 'whole/epoch_2.pth')
    assert all(value.device.type == 'cpu' and value.isfinite().all() for value in trained.values())

    (tmp_path / 'cut').mkdir()
    shutil.copy(tmp_path / 'whole/epoch_1.pth', tmp_path / 'cut')
    (tmp_path / 'cut/last_checkpoint').write_text(str(tmp_path / 'cut/epoch_1.pth'))
    done = tool('train.py', 'toy.py', '--work-dir', 'cut', '--resume', *amp, *SAME, cwd=tmp_path,
                **ENV)
    assert done.returncode == 0, done.stderr
    resumed = weights(tmp_path / 'cut/epoch_2.pth')
    assert [key for key in trained if not torch.equal(resumed[key], trained[key])] == []

    tested = tool('test.py', 'toy.py', 'whole/epoch_2.pth', '--work-dir', 'tested', cwd=tmp_path)
    assert tested.returncode == 0, tested.stderr
    accuracy = re.findall(r'accuracy/top1: ([\d.]+)', tested.stdout)
    assert accuracy[-1:] == re.findall(r'accuracy/top1: ([\d.]+)', done.stdout)[-1:]

    out = tool('export_student.py', 'whole/epoch_2.pth', cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    student = weights(tmp_path / 'whole/epoch_2_student.pth')
    assert {value.device.type for value in student.values()} == {'cpu'}
