"""docs/first_steps.md, word for word, in a project that somebody has: one for each library."""
import re
import shlex
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmrazor.registry import MODELS

from mmdistill_ext.datasets import SceneSettings, make_data

from .tools.toy import tool

pytestmark = pytest.mark.train
PAGE = (Path(__file__).parents[1] / 'docs/first_steps.md').read_text()
PYTHON = re.findall(r'^```python\n(.*?)^```', PAGE, re.M | re.S)
COMMANDS = [shlex.split(line) for block in re.findall(r'^```bash\n(.*?)^```', PAGE, re.M | re.S)
            for line in block.splitlines()]

LOADERS = '''
for loader in (train_dataloader, val_dataloader, test_dataloader):
    loader.update(batch_size=4, num_workers=0, persistent_workers=False)
del loader
'''
EPOCHS = '''
train_cfg = dict(max_epochs=12, val_interval=12)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=12))
'''
ITERATIONS = '''
train_cfg = dict(max_iters=12, val_interval=12)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=12))
'''
STUDENTS = dict(
    mmdet='''
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', 'mmdet::_base_/datasets/coco_detection.py',
          'mmdet::_base_/schedules/schedule_1x.py', 'mmdet::_base_/default_runtime.py']
model = dict(
    backbone=dict(depth=18, base_channels=4, stem_channels=4, frozen_stages=-1, init_cfg=None),
    neck=dict(in_channels=[4, 8, 16, 32], out_channels=8),
    bbox_head=dict(num_classes=10, in_channels=8, feat_channels=8, stacked_convs=1),
    test_cfg=dict(score_thr=0.))  # it learns nothing in 12 steps
metainfo = dict(classes=tuple('0123456789'))
train_dataloader = dict(dataset=dict(
    data_root='data/coco/', ann_file='annotations/instances_train.json', metainfo=metainfo,
    data_prefix=dict(img='train/'), filter_cfg=dict(_delete_=True)))
val_dataloader = test_dataloader = dict(dataset=dict(
    data_root='data/coco/', ann_file='annotations/instances_val.json', metainfo=metainfo,
    data_prefix=dict(img='val/')))
val_evaluator = test_evaluator = dict(ann_file='data/coco/annotations/instances_val.json')
for pipeline in (_base_.train_pipeline, _base_.test_pipeline):
    [step.update(scale=(128, 128)) for step in pipeline if step['type'] == 'Resize']
train_dataloader['dataset']['pipeline'] = _base_.train_pipeline
val_dataloader['dataset']['pipeline'] = _base_.test_pipeline
del pipeline
''',
    mmseg='''
_base_ = ['mmseg::_base_/models/pspnet_r50-d8.py', 'mmseg::_base_/datasets/cityscapes.py',
          'mmseg::_base_/default_runtime.py', 'mmseg::_base_/schedules/schedule_40k.py']
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(128, 128)), pretrained=None,
    backbone=dict(depth=18, base_channels=4, stem_channels=4, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=32, channels=8, num_classes=11, norm_cfg=norm_cfg),
    auxiliary_head=None)
data_preprocessor = dict(size=(128, 128))
metainfo = dict(classes=('background', *'0123456789'),
                palette=[[value] * 3 for value in range(11)])
train_pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
                  dict(type='PackSegInputs')]
own = dict(type='BaseSegDataset', data_root='data/cityscapes', metainfo=metainfo,
           img_suffix='_leftImg8bit.png', seg_map_suffix='_gtFine_labelTrainIds.png',
           pipeline=train_pipeline)
train_dataloader = dict(dataset=own)
val_dataloader = test_dataloader = dict(dataset=own)
del own
''',
    mmpretrain='''
_base_ = ['mmpretrain::_base_/models/resnet18.py', 'mmpretrain::_base_/datasets/imagenet_bs32.py',
          'mmpretrain::_base_/schedules/imagenet_bs256.py',
          'mmpretrain::_base_/default_runtime.py']
data_preprocessor = dict(num_classes=10)
model = dict(backbone=dict(base_channels=4, stem_channels=4),
             head=dict(num_classes=10, in_channels=32, topk=(1,)))
train_dataloader = dict(dataset=dict(
    _delete_=True, type='CustomDataset', data_root='data/imagenet', data_prefix='train',
    pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')]), drop_last=True)
val_dataloader = test_dataloader = dict(dataset=dict(
    _delete_=True, type='CustomDataset', data_root='data/imagenet', data_prefix='val',
    pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
''')
TEACHERS = dict(
    mmdet='''
model = dict(backbone=dict(base_channels=8, stem_channels=8),
             neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
             bbox_head=dict(in_channels=16))
''',
    mmseg='''
model = dict(backbone=dict(base_channels=8, stem_channels=8), decode_head=dict(in_channels=64))
''',
    mmpretrain='''
model = dict(backbone=dict(base_channels=8, stem_channels=8), head=dict(in_channels=64))
''')
METRICS = dict(mmdet='coco/bbox_mAP', mmseg='mIoU', mmpretrain='accuracy/top1')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'digits'
    make_data(folder, SceneSettings(train=4, val=4, tune=2), progress=False)
    return folder


def somebodys_project(folder: Path, library: str, data: Path) -> None:
    """The four files that the page assumes, made of the library's own base configs."""
    (folder / 'data').symlink_to(data)
    (folder / 'picture.png').symlink_to(next(data.glob('coco/val/*.png')))
    (folder / 'my_student.py').write_text(STUDENTS[library] + LOADERS + (
        ITERATIONS if library == 'mmseg' else EPOCHS))
    (folder / 'my_teacher.py').write_text("_base_ = 'my_student.py'\n" + TEACHERS[library])
    teacher = Config.fromfile(folder / 'my_teacher.py')
    init_default_scope(library)
    model = MODELS.build(dict(teacher.model, _scope_=library))
    torch.save(dict(state_dict=model.state_dict()), folder / 'my_teacher.pth')


@pytest.mark.parametrize('library, config, use', [
    pytest.param(library, config, use, id=library)
    for library, config, use in zip(STUDENTS, PYTHON[:3], PYTHON[3:])])
def test_the_page(tmp_path, monkeypatch, data, library, config, use):
    monkeypatch.chdir(tmp_path)
    somebodys_project(tmp_path, library, data)
    (tmp_path / 'my_distilled.py').write_text(config)
    install, judge, rehearse, train, weigh, test, export = COMMANDS[:2], *COMMANDS[2:]
    assert [command[0] for command in install] == ['pip', 'pip']

    def run(command: list) -> str:
        assert command[0] == 'python' and command[1].startswith('tools/')
        done = tool(command[1][len('tools/'):], *(
            word.replace('epoch_12', checkpoint) for word in command[2:]), cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    checkpoint = 'iter_12' if library == 'mmseg' else 'epoch_12'
    assert f'| {METRICS[library]} | ' in run(judge) or library == 'mmdet'  # which finds nothing
    assert 'WARNING: the teacher has ' in run(judge)  # random weights
    rehearsed = run(rehearse)
    assert 'nothing was kept' in rehearsed and not (tmp_path / 'work_dirs/mine').exists()
    said = run(train)
    link = 'loss_fpn' if library == 'mmdet' else 'loss_stage4'
    assert f'distill.{link}' in rehearsed
    assert f'distill.{link}: ' in said and 'student.' in said
    assert f'{METRICS[library]}: ' in run(test)
    run(export)
    if library == 'mmdet':
        key, value = weigh[-1].split('=')
        changed = Config.fromfile(tmp_path / 'my_distilled.py')
        changed.merge_from_dict({key: float(value)})
        assert changed.model.distiller.links.loss_fpn.loss == dict(
            type='FeatureL2Loss', loss_weight=7e-6)

    names = {}
    exec(use, names)
    trained = torch.load(f'work_dirs/mine/{checkpoint}.pth', weights_only=False)['state_dict']
    model = names['model'] if 'model' in names else names['classify'].model
    own = model.state_dict()
    assert all(torch.equal(value, trained[f'architecture.{key}']) for key, value in own.items())
    expected = dict(mmdet=lambda result: len(result.scores) > 0,
                    mmseg=lambda result: result.data.shape[1:] == (128, 128),
                    mmpretrain=lambda result: result in '0123456789')
    assert expected[library](names['result'])
