"""tools/train.py --dry-run: what it prints is what a training would be, and nothing is kept."""
import copy
import math
import re
from functools import partial

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch._dynamo.utils import counters

from mmdistill_ext.analysis import job_memory, places
from mmdistill_ext.analysis.measure import saved_bytes
from mmdistill_ext.datasets import SceneSettings, make_data
from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.teacher.compiled import HOOKS_ARE_COMPILED
from tests.reliability.algorithms import ALGORITHMS
from tests.small import batch, build, model_config
from tests.tools.test_analysis import initial_weights
from tests.tools.toy import REPO, free_port, run, tool, write


def tables(text):
    """Each table as rows of cells, its head first."""
    found, last = [], ''
    for line in text.splitlines():
        if line.startswith('|'):
            if not last.startswith('|'):
                found.append([])
            if not line.startswith('| ---'):
                found[-1].append([cell.strip() for cell in line.strip('|').split('|')])
        last = line
    return found


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('rehearsed')
    write(folder, images=8)
    return folder


def rehearse(folder, *arguments, config='toy.py'):
    """The tables of a dry run and what it printed; nothing in the folder is new."""
    before = {path: path.stat().st_mtime_ns for path in folder.rglob('*')}
    done = tool('train.py', config, '--dry-run', *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.rglob('*')} == before
    assert done.stdout.endswith('nothing was kept\n')
    return tables(done.stdout), done.stdout


@pytest.mark.train
def test_a_link(folder):
    (where, parameters, hours), text = rehearse(folder)
    assert where[1] == ['distill.loss_feature', 'backbone', '[2, 32, 1, 1]', 'backbone',
                        '[2, 64, 1, 1]', 'MLPConnector', 'FeatureL2Loss * 0.0001']
    model = build(Config.fromfile(folder / 'toy.py').model)
    millions = {row[0]: (float(row[1]), float(row[2])) for row in parameters[1:]}
    expected = dict(student=model.student, teacher=model.teacher)
    expected['connectors and bridges'] = model.distiller.connectors
    for name, part in expected.items():
        count = sum(weight.numel() for weight in part.parameters()) / 1e6
        trained = 0. if name == 'teacher' else count
        assert millions[name] == pytest.approx((count, trained), rel=1e-3), name
    step = float(re.search(r'a step of 4 images takes (\S+) s', text)[1])
    load = float(re.search(r'to load them takes one process (\S+) s', text)[1])
    # 16 images, two epochs, batches of 4
    assert [row[:3] for row in hours[1:]] == [
        ['1 (measured)', '4', '8'], ['2', '8', '4'], ['4', '16', '2'], ['8', '32', '2']]
    for row in hours[1:]:  # no workers: loading counts
        assert float(row[3]) == pytest.approx(int(row[2]) * (step + load) / 3600, rel=.02)


@pytest.mark.train
def test_iterations_are_as_many_on_any_number_of_processes(folder):
    (folder / 'iterations.py').write_text(
        "_base_ = 'toy.py'\n"
        'train_cfg = dict(_delete_=True, by_epoch=False, max_iters=90, val_interval=1)\n'
        'custom_hooks = []\n'
        "train_dataloader = dict(sampler=dict(type='InfiniteSampler'))\n")
    (_, _, hours), _ = rehearse(folder, config='iterations.py')
    assert [row[2] for row in hours[1:]] == ['90'] * 4


@pytest.mark.train
def test_two_processes_print_once(folder):
    done = run('bash', REPO / 'tools/dist_train.sh', 'toy.py', 2, '--dry-run', '--cfg-options',
               'env_cfg.dist_cfg.backend=gloo', cwd=folder, PORT=free_port())
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('nothing was kept') == 1
    *_, hours = tables(done.stdout)
    assert [row[:3] for row in hours[1:]] == [
        ['2 (measured)', '8', '4'], ['4', '16', '2'], ['8', '32', '2'], ['16', '64', '2']]
    assert not (folder / 'work_dirs').exists()


@pytest.mark.train
def test_nothing_is_fetched_and_nobody_is_told(folder):
    """Addresses that lead nowhere, a backend that is not there, and what needs a GPU."""
    (folder / 'seen.py').write_text(
        "_base_ = 'toy.py'\n"
        "visualizer = dict(type='Visualizer', vis_backends=[dict(type='NoSuchBackend')])\n"
        "load_from = 'https://nowhere.invalid/start.pth'\n"
        "optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic')\n"
        'model = dict(\n'
        "    random_teacher=False, teacher_ckpt='https://nowhere.invalid/teacher.pth',\n"
        '    architecture=dict(backbone=dict(init_cfg=dict(\n'
        "        type='Pretrained', checkpoint='torchvision://resnet18'))))\n")
    _, text = rehearse(folder, config='seen.py')
    left_out = re.findall('^left out here: (.*)$', text, re.M)
    for part in ("teacher_ckpt='https://nowhere.invalid/teacher.pth'", 'torchvision://resnet18',
                 "load_from='https://nowhere.invalid/start.pth'", 'mixed precision'):
        assert sum(part in line for line in left_out) == 1, part
    assert len(left_out) == 4


@pytest.mark.train
@pytest.mark.parametrize('option, expected', [
    ('model.type=LeanTeacherDistil', "did you mean 'LeanTeacherDistill'"),
    ('model.distiller.links.loss_feature.student=backbone.layer9', "no module 'backbone.layer9'"),
    ('train_dataloader.dataset.data_root=nowhere', 'nowhere'),
    ('val_dataloader.dataset.data_root=nowhere', 'nowhere'),
    ('model.architecture.head.num_classes=3', "the student's head has 3, the training data 2"),
    ('custom_hooks.0.type=NoHook', "'NoHook'")])
def test_a_mistake_is_one_line(folder, option, expected):
    done = tool('train.py', 'toy.py', '--dry-run', '--cfg-options', option, cwd=folder)
    assert done.returncode == 2 and done.stderr.count('\n') == 1, done.stderr
    assert expected in done.stderr and not (folder / 'work_dirs').exists()


@pytest.mark.train
def test_a_job_that_does_not_fit(folder):
    """Forty thousand images of 512x512 in one step, of which only two are ever loaded."""
    (folder / 'large.py').write_text(
        "_base_ = 'toy.py'\n"
        'pipeline = [*_base_.pipeline[:1], dict(type="Resize", scale=512), '
        '*_base_.pipeline[1:]]\n'
        "train_dataloader = dict(batch_size=40000, dataset=dict(_delete_=True, "
        "type='RepeatDataset', times=5000, dataset=dict(_base_.train_dataloader.dataset, "
        'pipeline=pipeline)))\n')
    done = tool('train.py', 'large.py', '--dry-run', cwd=folder)
    assert done.returncode == 2 and done.stderr.count('\n') == 1, done.stderr
    found = re.search(r'does not fit: a process with 40000 images a step needs at least (\S+) GB'
                      r'.*this machine has (\S+) GB free; at most (\d+) images would fit',
                      done.stderr)
    needed, free, most = float(found[1]), float(found[2]), int(found[3])
    assert needed > free and most == pytest.approx(40000 * free / needed, rel=.1)


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp('demo')
    make_data(folder / 'data/digits', SceneSettings(train=8, val=2, tune=1), progress=False)
    (folder / 'projects').symlink_to(REPO / 'projects')
    for task in ('cls', 'det', 'seg'):
        initial_weights(folder, task, 'teacher')
    (folder / 'work_dirs/demo_seg/teacher/epoch_8.pth').rename(
        folder / 'work_dirs/demo_seg/teacher/epoch_20.pth')
    return folder


@pytest.mark.train
@pytest.mark.parametrize('config, expected', [
    ('cls_fcfd', ['fcfd.loss_app_2, fcfd.loss_s2t_2_*, fcfd.loss_t2s_2_*', 'backbone.layer2',
                  '[2, 8, 12, 12]', 'backbone.layer2', '[2, 32, 12, 12]', 'FCFDBridge',
                  'FeatureMSELoss * 1']),
    ('cls_tffd', ['distill.loss_intra 1', 'backbone.layer3', '[2, 16, 6, 6]', '', '', '',
                  'TfFDIntraLoss * 0.0008']),
    ('cls_tffd_logits', ['distill.loss_kd', 'head.fc', '[2, 10]', 'head.fc', '[2, 10]', '',
                         'KLDivergence * 1']),
    ('det_mlp', ['distill.loss_fpn 2', 'neck', '[2, 24, 4, 4]', 'neck', '[2, 48, 4, 4]',
                 'MLPConnector', 'FeatureL2Loss * 0.001']),
    ('det_fcfd', ['fcfd.loss_app level 0', 'neck', '[2, 24, 16, 16]', 'neck', '[2, 48, 16, 16]',
                  'FCFDBridge', 'FeatureMSELoss * 1']),
    ('seg_fcfd', ['fcfd.loss_app', 'backbone', '[2, 48, 8, 8]', 'backbone', '[2, 128, 8, 8]',
                  'FCFDBridge', 'FeatureMSELoss * 1'])])
def test_every_task_and_method(demo, config, expected):
    (where, *_), _ = rehearse(demo, '--cfg-options', 'train_dataloader.batch_size=4',
                              config=f'projects/demo/configs/{config}.py')
    assert expected in where
    assert not any('not in a step' in row for row in where)


def test_the_inputs_of_a_loss_in_mmrazors_form():
    """As MMRazor's DKD reads them."""
    recorder = dict(loss=dict(type='ModuleInputs', source='head.loss_module'))
    model = build(dict(
        type='LeanTeacherDistill', architecture=model_config('cls', 4),
        teacher=model_config('cls'), random_teacher=True, distiller=dict(
            type='ConfigurableDistiller', student_recorders=recorder, teacher_recorders=recorder,
            distill_losses=dict(loss_dkd=dict(type='DKDLoss', loss_weight=2.)),
            loss_forward_mappings=dict(loss_dkd=dict(
                preds_S=dict(from_student=True, recorder='loss', data_idx=0),
                preds_T=dict(from_student=False, recorder='loss', data_idx=0),
                gt_labels=dict(from_student=True, recorder='loss', data_idx=1))))))
    model.train()
    with places.shapes_of(model) as shapes:
        model(**model.data_preprocessor(batch('cls'), True), mode='loss')
    row, = places.table(model, shapes).rows
    assert row[0] == 'distill.loss_dkd' and row[1] == row[3] == 'head.loss_module'
    assert row[2] in ('[2, 5]', '[2]') and row[4] == '[2, 5]'


@pytest.mark.skipif(not HOOKS_ARE_COMPILED, reason='teacher_compile is refused')
@pytest.mark.usefixtures('no_graph_is_remembered')
def test_shapes_of_a_compiled_teacher():
    model = build(dict(ALGORITHMS['mlp cls'][1], teacher_compile=dict(backend='aot_eager')))
    model.train()
    data = model.data_preprocessor(batch('cls'), True)
    with places.shapes_of(model) as shapes:
        expected = model(**data, mode='loss')['distill.loss_link']
    assert places.table(model, shapes).rows[0][4] == '[2, 64, 2, 2]'
    assert not counters['frames']['ok']
    torch.testing.assert_close(model(**data, mode='loss')['distill.loss_link'], expected)
    assert counters['frames']['ok']  # compiled again


@pytest.mark.parametrize('task', ['cls', 'seg', 'det'])
@pytest.mark.parametrize('optimizer, states', [
    (dict(type='SGD', lr=.01), 0), (dict(type='SGD', lr=.01, momentum=.9), 1),
    (dict(type='Adam', lr=1e-3), 2)])
def test_memory_grows_by_the_image(task, optimizer, states):
    """What two images tell of eight is what eight need."""
    torch.manual_seed(0)
    model = build(model_config(task))
    wrapper = build_optim_wrapper(model, dict(optimizer=optimizer))
    model.train()
    few, many = batch(task, 2), batch(task, 8)
    needs = job_memory.needs_of(
        model, wrapper, saved_bytes(partial(model.train_step, few, wrapper), model,
                                    with_backward=True), few, 2)
    trained = sum(4 * weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert needs.gradients == trained
    assert needs.optimizer == pytest.approx(states * trained, rel=.01)
    buffers = sum(x.numel() * x.element_size() for x in model.buffers())
    assert needs.weights == pytest.approx(trained + buffers, rel=.01)
    saved = saved_bytes(partial(model.train_step, many, wrapper), model, with_backward=True)
    ahead = model.data_preprocessor(copy.deepcopy(many), True)
    kept = saved_bytes(lambda: model(**ahead, mode='loss'), model)
    given = sum(image.numel() for image in many['inputs'])
    assert given < kept <= saved <= 1.06 * kept  # mmseg's accuracy drops some on the way
    assert 8 * needs.image == pytest.approx(saved + given, rel=.05)


def test_what_fits():
    needs = job_memory.Needs(weights=10, gradients=4, optimizer=4, image=2.)
    assert needs.step(3) == 10
    job_memory.check_fits(needs, 3)
    free = job_memory.free_bytes()
    assert 0 < free < math.inf
    with pytest.raises(ConfigError, match='a smaller model would fit'):
        job_memory.check_fits(needs._replace(image=2 * free), 1)
