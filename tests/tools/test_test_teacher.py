"""tools/test.py --teacher: good teachers pass, and what is wrong with others is said."""
import re

import cv2
import numpy as np
import pytest
import torch

from mmdistill_ext.cli.teacher_test import TestRun, doubts, table
from mmdistill_ext.datasets import SceneSettings, make_data
from tests.tools.test_analysis import initial_weights
from tests.tools.toy import CONFIG, REPO, free_port, run, tool

TEACHER = '''
_base_ = 'toy.py'
model = dict(_delete_=True, **_base_.model.teacher)
'''
SHORT = ['--cfg-options', 'train_cfg.max_epochs=3', 'train_cfg.val_interval=3',
         'train_dataloader.batch_size=16']


def said(done):
    """The table as a dict of lists, and the lines below it."""
    assert done.returncode == 0, done.stderr
    lines = done.stdout[done.stdout.index('| metric'):].splitlines()
    rows = [[cell.strip() for cell in line.strip('|').split('|')]
            for line in lines if line.startswith('|')]
    return ({row[0]: row[1:] for row in (rows[0], *rows[2:])},
            [line for line in lines if not line.startswith('|')])


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Dark and bright pictures, and a teacher that has learnt to tell them apart."""
    folder = tmp_path_factory.mktemp('taught')
    rng = np.random.default_rng(0)
    for name, low in (('a', 0), ('b', 127)):
        (folder / 'data/train' / name).mkdir(parents=True)
        for i in range(32):
            cv2.imwrite(str(folder / f'data/train/{name}/{i}.png'),
                        rng.integers(low, low + 128, (32, 32, 3), dtype=np.uint8))
    (folder / 'toy.py').write_text(
        CONFIG.replace('{data}', str(folder / 'data')).replace(
            'random_teacher=True', "teacher_ckpt='teacher.pth'"))
    (folder / 'teacher.py').write_text(TEACHER)
    done = tool('train.py', 'teacher.py', '--work-dir', 'wd', *SHORT, cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / 'wd/epoch_3.pth').rename(folder / 'teacher.pth')
    state = torch.load(folder / 'teacher.pth', weights_only=False)
    state['meta'] = {}  # the names of the classes too are another's
    for key in ('head.fc.weight', 'head.fc.bias'):
        state['state_dict'][key] = state['state_dict'][key].flip(0)
    torch.save(dict(state_dict=state['state_dict']), folder / 'permuted.pth')
    return folder


@pytest.mark.train
def test_a_good_teacher(folder):
    rows, lines = said(tool('test.py', 'toy.py', '--teacher', cwd=folder))
    assert rows == {'metric': ['teacher'], 'accuracy/top1': ['100']} and lines == []


@pytest.fixture(scope='module')
def students(folder):
    """Checkpoints of a distillation whose student is always right, and always wrong."""
    done = tool('train.py', 'toy.py', '--work-dir', 'student', *SHORT, 'train_cfg.max_epochs=9',
                cwd=folder)
    assert done.returncode == 0, done.stderr
    state = torch.load(folder / 'student/epoch_9.pth', weights_only=False)
    for key in ('head.fc.weight', 'head.fc.bias'):
        key = f'architecture.{key}'
        state['state_dict'][key] = state['state_dict'][key].flip(0)
    torch.save(state, folder / 'wrong.pth')
    return 'student/epoch_9.pth', 'wrong.pth'


@pytest.mark.train
def test_beside_a_student(folder, students):
    """The table holds what test.py alone says of the student."""
    for checkpoint, accuracy in zip(students, ('100', '0')):
        alone = tool('test.py', 'toy.py', checkpoint, cwd=folder)
        assert float(re.search(r'accuracy/top1: ([\d.]+)', alone.stdout)[1]) == float(accuracy)
        assert '| metric' not in alone.stdout
        rows, lines = said(tool('test.py', 'toy.py', checkpoint, '--teacher', cwd=folder))
        assert rows == {'metric': ['teacher', 'student'], 'accuracy/top1': ['100', accuracy]}
        assert bool(lines) == (accuracy == '100')


@pytest.mark.train
def test_classes_in_another_order(folder):
    rows, (line, ) = said(tool('test.py', 'toy.py', '--teacher', '--cfg-options',
                               'model.teacher_ckpt=permuted.pth', cwd=folder))
    assert rows['accuracy/top1'] == ['0']
    assert line.startswith('WARNING: the teacher has accuracy/top1 0, no better than chance (up to')
    assert 'classes are in another order' in line


@pytest.mark.train
def test_a_checkpoint_that_names_other_classes_stops(folder):
    state = torch.load(folder / 'teacher.pth', weights_only=False)
    state['meta']['dataset_meta']['classes'] = ['b', 'a']
    torch.save(state, folder / 'named.pth')
    done = tool('test.py', 'toy.py', '--teacher', '--work-dir', 'new', '--cfg-options',
                'model.teacher_ckpt=named.pth', cwd=folder)
    assert done.returncode == 2 and done.stderr.count('\n') == 1, done.stderr
    assert "checkpoint has 'b' as number 0, the test data 'a'" in done.stderr
    assert not (folder / 'new').exists()


@pytest.mark.train
def test_another_normalisation(folder):
    """With its own mean and std the teacher is right; with ones that it never saw it guesses."""
    own = ['--cfg-options', 'model.teacher_ckpt=teacher.pth',
           'model.architecture.data_preprocessor.mean=[0,0,0]']
    rows, lines = said(tool('test.py', 'toy.py', '--teacher', *own, cwd=folder))
    assert rows['accuracy/top1'] == ['100'] and lines == []
    rows, (line, ) = said(tool('test.py', 'toy.py', '--teacher', '--cfg-options',
                               'model.teacher.data_preprocessor.mean=[1000,1000,1000]',
                               cwd=folder))
    assert rows['accuracy/top1'] == ['50']
    assert 'data_preprocessor is not the one that it was trained with' in line


@pytest.mark.train
def test_a_teacher_that_states_no_normalisation_takes_the_students(folder):
    rows, _ = said(tool('test.py', 'toy.py', '--teacher', '--cfg-options',
                        'model.teacher.data_preprocessor=None', cwd=folder))
    assert rows['accuracy/top1'] == ['100']


@pytest.mark.train
def test_two_processes(folder, students):
    done = run('bash', REPO / 'tools/dist_test.sh', 'toy.py', students[1], 2, '--teacher',
               '--cfg-options', 'env_cfg.dist_cfg.backend=gloo', cwd=folder, PORT=free_port())
    rows, lines = said(done)
    assert rows['accuracy/top1'] == ['100', '0'] and lines == []
    assert done.stdout.count('| metric') == 1


@pytest.mark.train
def test_a_teacher_that_is_trained_is_the_checkpoints(folder):
    """FCFD online: before the training there is none."""
    online = ['--cfg-options', 'model.type=FCFDOnline', 'model.distiller=None',
              'model.teacher_ckpt=None', 'model.random_teacher=True']
    done = tool('test.py', 'toy.py', '--teacher', *online, cwd=folder)
    assert done.returncode == 2 and 'random_teacher=True, so there is nothing' in done.stderr
    done = tool('train.py', 'toy.py', '--work-dir', 'online', *online, *SHORT[1:],
                'optim_wrapper.optimizer.lr=.02', cwd=folder)
    assert done.returncode == 0, done.stderr
    state = torch.load(folder / 'online/epoch_3.pth', weights_only=False)['state_dict']
    rows, _ = said(tool('test.py', 'toy.py', 'online/epoch_3.pth', '--teacher', *online,
                        cwd=folder))
    torch.save({key[len('teacher.'):]: value for key, value in state.items()
                if key.startswith('teacher.')}, folder / 'alone.pth')
    alone, _ = said(tool('test.py', 'toy.py', '--teacher', '--cfg-options',
                         'model.teacher_ckpt=alone.pth', cwd=folder))
    assert rows['accuracy/top1'][0] == alone['accuracy/top1'][0]


@pytest.mark.parametrize('arguments, expected', [
    (['--work-dir', 'new'], 'what to test? a checkpoint of the student, or --teacher'),
    (['--work-dir', 'new', '--teacher', '--cfg-options', 'model.teacher_ckpt=gone.pth'],
     "teacher_ckpt 'gone.pth' cannot be loaded"),
    (['gone.pth', '--work-dir', 'new', '--teacher'], 'no checkpoint at gone.pth'),
    (['--work-dir', 'new', '--teacher', '--cfg-options', 'model.teacher.head=None'],
     '--teacher: the teacher has no head, so it predicts nothing to test')])
@pytest.mark.train
def test_mistakes(folder, arguments, expected):
    done = tool('test.py', 'toy.py', *arguments, cwd=folder)
    assert done.returncode == 2 and done.stderr.count('\n') == 1, done.stderr
    assert expected in done.stderr and not (folder / 'new').exists()


@pytest.mark.train
def test_without_a_teacher(folder):
    tffd = REPO / 'projects/demo/configs/cls_tffd.py'
    done = tool('test.py', tffd, '--teacher', cwd=folder)
    assert done.returncode == 2
    assert done.stderr == ("ERROR: --teacher: model.type is 'TeacherFreeDistill', which has no "
                           'teacher: the student teaches itself\n')
    done = tool('test.py', 'teacher.py', '--teacher', cwd=folder)
    assert done.returncode == 2
    assert done.stderr == ("ERROR: --teacher: model.type is 'ImageClassifier', which has no "
                           "teacher\n")


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    """The demo's folders with a few scenes, and teachers that have learnt nothing."""
    folder = tmp_path_factory.mktemp('demo')
    make_data(folder / 'data/digits', SceneSettings(train=2, val=6, tune=1), progress=False)
    (folder / 'projects').symlink_to(REPO / 'projects')
    for task in ('cls', 'det', 'seg'):
        initial_weights(folder, task, 'teacher')
    (folder / 'work_dirs/demo_seg/teacher/epoch_8.pth').rename(
        folder / 'work_dirs/demo_seg/teacher/epoch_20.pth')
    return folder


@pytest.mark.train
@pytest.mark.parametrize('config', ['cls_mlp', 'cls_fcfd', 'cls_tffd_logits', 'det_mlp', 'det_fcfd',
                                    'seg_mlp', 'seg_fcfd'])
def test_every_task_and_method(demo, config):
    """A teacher with random weights is said to know nothing, whatever it is a teacher of."""
    done = tool('test.py', f'projects/demo/configs/{config}.py', '--teacher', cwd=demo)
    rows, (line, ) = said(done)
    assert line.startswith('WARNING: the teacher has')
    assert 'no better than chance' in line or 'it found nothing' in line


def run_of(classes=10, images=400, **metrics):
    found = TestRun()
    found.metrics = {name.replace('__', '/'): value for name, value in metrics.items()}
    found.classes, found.images = classes, images
    return found


@pytest.mark.parametrize('teacher, student, expected', [
    (dict(accuracy__top1=72.6), dict(accuracy__top1=68.8), None),
    (dict(accuracy__top1=72.6), {}, None),
    (dict(accuracy__top1=14.), {}, 'no better than chance (up to 14.5 here)'),
    (dict(accuracy__top1=15.), {}, None),
    (dict(accuracy__top1=48.), dict(accuracy__top1=48.), 'no better than the student (48)'),
    (dict(coco__bbox_mAP=.412, coco__bbox_mAP_50=.6), dict(coco__bbox_mAP=.374), None),
    (dict(coco__bbox_mAP=.01), {}, 'no better than chance'),
    (dict(coco__bbox_mAP=-1.), {}, 'no better than chance'),
    (dict(aAcc=60., mIoU=9.9), {}, 'mIoU 9.9, no better than chance (up to 10 here)'),
    (dict(aAcc=60., mIoU=11.), dict(mIoU=12.), 'mIoU 11, no better than the student'),
    ({}, {}, 'it found nothing'),
    (dict(mae=.001), dict(mae=1.), None)])
def test_what_is_doubted(teacher, student, expected):
    lines = doubts(run_of(**teacher), run_of(**student))
    assert len(lines) == (expected is not None)
    assert expected is None or expected in lines[0]


def test_the_table():
    found = table(run_of(mIoU=70., aAcc=90.), run_of(mIoU=60.))
    assert found.markdown().splitlines()[0] == '| metric | teacher | student |'
    assert found.rows == [['mIoU', 70., 60.], ['aAcc', 90., None]]
    assert table(run_of(mIoU=70.), TestRun()).columns == ['metric', 'teacher']
