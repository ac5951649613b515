"""tools/test.py measures the student that is in the checkpoint, whichever kind that is."""
import re

import pytest
import torch

from tests.tools.toy import tool, write

pytestmark = pytest.mark.train


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A toy that has learnt its images by heart, and the weights of one that has not."""
    folder = tmp_path_factory.mktemp('tested')
    write(folder)
    done = tool('train.py', 'toy.py', '--work-dir', 'wd', '--cfg-options',
               'train_cfg.max_epochs=12', 'train_cfg.val_interval=12',
               'default_hooks.checkpoint.interval=12', cwd=folder)
    assert done.returncode == 0, done.stderr
    exported = tool('export_student.py', 'wd/epoch_12.pth', cwd=folder)
    assert exported.returncode == 0, exported.stderr
    state = torch.load(folder / 'wd/epoch_12_student.pth', weights_only=True)
    torch.save(state['state_dict'], folder / 'bare.pth')
    state['state_dict']['head.fc.weight'].neg_()
    state['state_dict']['head.fc.bias'].neg_()
    torch.save(state, folder / 'contrary.pth')
    return folder


def accuracy(done):
    assert done.returncode == 0, done.stderr
    return float(re.search(r'accuracy/top1: ([\d.]+)', done.stdout)[1])


def test_every_form_of_the_same_student(folder):
    """The contrary student is wrong where this one is right: the weights are really used."""
    ours = tool('test.py', 'toy.py', 'wd/epoch_12.pth', cwd=folder)
    expected = accuracy(ours)
    assert expected > 60
    for path in ('wd/epoch_12_student.pth', 'bare.pth'):
        assert accuracy(tool('test.py', 'toy.py', path, cwd=folder)) == expected
    assert accuracy(tool('test.py', 'toy.py', 'contrary.pth', cwd=folder)) == 100 - expected


def test_the_teacher_is_not_needed(folder):
    done = tool('test.py', 'toy.py', 'wd/epoch_12.pth', '--cfg-options',
               'model.teacher_ckpt=/gone.pth', 'model.random_teacher=False', cwd=folder)
    assert accuracy(done) > 60


def test_the_students_own_config(folder):
    (folder / 'student.py').write_text(
        (folder / 'toy.py').read_text() + "\nmodel = model['architecture']\n")
    for path in ('wd/epoch_12.pth', 'wd/epoch_12_student.pth'):
        assert accuracy(tool('test.py', 'student.py', path, cwd=folder)) > 60


def test_ema_weights_are_tested(folder):
    """An EMA hook swaps its own weights in: they must be the checkpoint's too."""
    done = tool('test.py', 'toy.py', 'contrary.pth', '--cfg-options',
               'custom_hooks.0.type=EMAHook', cwd=folder)
    assert accuracy(done) < 40


def test_what_does_not_fit(folder):
    state = torch.load(folder / 'wd/epoch_12.pth', map_location='cpu', weights_only=False)
    state['state_dict'].pop('architecture.head.fc.bias')
    torch.save(state, folder / 'short.pth')
    before = sorted(p.name for p in folder.iterdir())
    for path, options, expected in (
            ('short.pth', [], 'head.fc.bias'),
            ('wd/epoch_12.pth', ['model.architecture.backbone.depth=34'], ' missing (backbone'),
            ('gone.pth', [], 'no checkpoint at gone.pth'), ('toy.py', [], 'toy.py is no checkp')):
        done = tool('test.py', 'toy.py', path, '--work-dir', 'new',
                   *(['--cfg-options', *options] if options else []), cwd=folder)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count('\n') == 1 and expected in done.stderr
        assert sorted(p.name for p in folder.iterdir()) == before
