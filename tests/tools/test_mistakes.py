"""One clear line, exit code 2, no work_dir half made."""
import os

import pytest

from tests.tools.toy import REPO, run, tool, write

pytestmark = pytest.mark.train


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('mistakes')
    write(folder)
    text = (folder / 'toy.py').read_text()
    (folder / 'syntax.py').write_text('model = dict(\n')
    (folder / 'raises.py').write_text('model = dict(type=undefined_name)\n')
    (folder / 'base.py').write_text("_base_ = './nowhere.py'\n")
    (folder / 'unknown_package.py').write_text("_base_ = 'mmseeg::pspnet/x.py'\n")
    (folder / 'no_model.py').write_text(text + '\nmodel = None\n')
    (folder / 'plugin.py').write_text("custom_imports = dict(imports=['not_there_at_all'])\n")
    return folder


CASES = {
    'no such config': (['gone.py'], ['gone.py']),
    'syntax': (['syntax.py'], ['syntax.py', 'syntax']),
    'raises': (['raises.py'], ['raises.py', 'undefined_name']),
    'base': (['base.py'], ['nowhere.py']),
    'package': (['unknown_package.py'], ['mmseeg']),
    'no model': (['no_model.py'], ["'model'"]),
    'plugin': (['plugin.py'], ['not_there_at_all']),
    'options': (['toy.py', '--cfg-options', 'model'], ["'model'", 'key=value']),
    'option unknown': (['toy.py', '--cfg-options', 'modle.type=A'], ["'modle'", "'model'"]),
    'option index': (['toy.py', '--cfg-options', 'pipeline.7.type=A'], ['pipeline']),
    'option brackets': (['toy.py', '--cfg-options', 'a=[1,(2]'], ['[1,(2]']),
    'algorithm': (['toy.py', '--cfg-options', 'model.type=LeanTeacherDistil'],
                  ["'LeanTeacherDistil'", "'LeanTeacherDistill'"]),
    'backbone': (['toy.py', '--cfg-options', 'model.architecture.backbone.type=ResNett'],
                 ["'ResNett'", "'ResNet'"]),
    'sister scope': (['toy.py', '--cfg-options', 'model.architecture.type=RetinaNett'],
                     ["'RetinaNett'", 'not in the']),
    'transform': (['toy.py', '--cfg-options', 'train_dataloader.dataset.pipeline.0.type=LoadImage'],
                  ["'LoadImage'", 'transform']),
    'hook': (['toy.py', '--cfg-options', 'default_hooks.logger.type=LogerHook'],
             ["'LogerHook'", "'LoggerHook'"]),
    'no type': (['toy.py', '--cfg-options', 'default_hooks.timer.interval=3'],
                ["has no type: {'interval': 3}"]),
    'argument': (['toy.py', '--cfg-options', 'model.architecture.backbone.depht=18'],
                 ["'depht'", "'depth'"]),
    'link': (['toy.py', '--cfg-options', 'model.distiller.links.loss_feature.student=bakbone'],
             ['loss_feature', 'bakbone', 'backbone']),
    'data': (['toy.py', '--cfg-options', 'train_dataloader.dataset.data_root=/data/not/here'],
             ['/data/not/here']),
    'amp': (['toy.py', '--amp'], ['--amp needs a GPU']),
    'teacher': (['toy.py', '--cfg-options', 'model.teacher_ckpt=teacher_that_is_gone.pth',
                 'model.random_teacher=False'], ['teacher_that_is_gone.pth']),
    'load_from': (['toy.py', '--cfg-options', 'load_from=gone.pth'], ['gone.pth']),
}


def check(done, folder, expected, before):
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith('ERROR: '), done.stderr
    for part in expected:
        assert part in lines[0]
    assert sorted(p.name for p in folder.iterdir()) == before


@pytest.mark.parametrize('case', CASES)
def test_train(folder, case):
    arguments, expected = CASES[case]
    before = sorted(p.name for p in folder.iterdir())
    done = tool('train.py', *arguments, cwd=folder)
    check(done, folder, expected, before)


@pytest.mark.parametrize('case', ['no such config', 'syntax', 'algorithm', 'data'])
def test_in_a_python_of_its_own(folder, case):
    arguments, expected = CASES[case]
    before = sorted(p.name for p in folder.iterdir())
    done = run('python', REPO / 'tools/train.py', *arguments, cwd=folder)
    check(done, folder, expected, before)


def test_a_folder_that_was_there_stays(folder):
    (folder / 'old').mkdir()
    (folder / 'old/notes.txt').write_text('mine')
    done = tool('train.py', 'toy.py', '--work-dir', 'old', '--cfg-options',
               'model.type=Nothing', cwd=folder)
    assert done.returncode == 2
    assert (folder / 'old/notes.txt').read_text() == 'mine'


def test_our_own_bugs_keep_their_traceback(folder):
    (folder / 'broken.py').write_text(
        'from mmengine.hooks import Hook\nfrom mmengine.registry import HOOKS\n'
        '@HOOKS.register_module()\nclass Broken(Hook):\n'
        '    def before_train_iter(self, *args, **kwargs):\n        {}["gone"]\n')
    (folder / 'buggy.py').write_text(
        "_base_ = './toy.py'\ncustom_imports = dict(imports=['broken', 'mmdistill_ext'])\n"
        "custom_hooks = [dict(type='Broken')]\n")
    done = tool('train.py', 'buggy.py', cwd=folder, PYTHONPATH=str(folder))
    assert done.returncode == 1
    assert 'Traceback' in done.stderr and "KeyError: 'gone'" in done.stderr


def test_a_missing_package_is_not_installed(folder, tmp_path):
    """mmengine's get_config would run pip; here a pip that would tell stands by."""
    (tmp_path / 'python').write_text(f'#!/bin/sh\necho called > {tmp_path}/called\n')
    (tmp_path / 'python').chmod(0o755)
    (folder / 'uninstalled.py').write_text(
        "_base_ = './toy.py'\nmodel = dict(architecture=dict(_delete_=True, "
        "cfg_path='mmyolo::yolov5/yolov5_s.py', pretrained=False))\n")
    done = tool('train.py', 'uninstalled.py', cwd=folder,
               PATH=f'{tmp_path}:{os.environ["PATH"]}')
    assert done.returncode == 2 and 'mmyolo' in done.stderr and 'pip install' in done.stderr
    assert not (tmp_path / 'called').exists()


@pytest.mark.parametrize('library', ['mmdet', 'mmseg'])
def test_data_of_the_other_libraries(folder, library):
    """Whatever stock dataset says that its files are gone."""
    dataset = dict(
        mmdet="dict(type='mmdet.CocoDataset', data_root='/data/gone', ann_file='ann.json', "
              "data_prefix=dict(img=''), pipeline=[])",
        mmseg="dict(type='mmseg.CityscapesDataset', data_root='/data/gone', "
              "data_prefix=dict(img_path='a', seg_map_path='b'), pipeline=[])")[library]
    (folder / 'other.py').write_text(
        f"_base_ = './toy.py'\ntrain_dataloader = dict(dataset=dict(_delete_=True, "
        f"**{dataset}))\n")
    before = sorted(p.name for p in folder.iterdir())
    done = tool('train.py', 'other.py', cwd=folder)
    check(done, folder, ['/data/gone'], before)
