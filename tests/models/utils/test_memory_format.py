"""A student in channels_last computes the same."""
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmdistill_ext.errors import ConfigError
from tests.models.fcfd.heads import rcnn, retina
from tests.small import batch, build, model_config

LINK = dict(student='backbone.layer4', teacher='backbone.layer4', connector='MLPConnector',
            loss=dict(type='FeatureL2Loss', loss_weight=1e-3))
INTRA = dict(student=['backbone.layer3', 'backbone.layer4'],
             loss=dict(type='TfFDIntraLoss', loss_weight=1e-3))


def losses(kind: str, task: str, student_channels_last: bool):
    link = INTRA if kind == 'TeacherFreeDistill' else LINK
    config = dict(type=kind, architecture=model_config(task),
                  student_channels_last=student_channels_last,
                  distiller=dict(type='LinkDistiller', links=dict(loss_feat=link)))
    if kind != 'TeacherFreeDistill':
        config.update(teacher=model_config(task, 16), random_teacher=True)
    torch.manual_seed(0)
    model = build(config).train()
    data = model.data_preprocessor(batch(task), True)
    torch.manual_seed(1)  # the paths that FCFD draws
    total, logs = model.parse_losses(model(**data, mode='loss'))
    total.backward()
    gradient = model.student.backbone.layer4[0].conv1.weight.grad
    return model, logs, gradient, model.student.backbone.layer4(torch.ones(2, 32, 8, 8))


@pytest.mark.parametrize('kind, task', [
    ('LeanTeacherDistill', 'cls'), ('LeanTeacherDistill', 'seg'), ('LeanTeacherDistill', 'det'),
    ('TeacherFreeDistill', 'cls'), ('FCFDDistill', 'cls')])
def test_a_student_in_channels_last_computes_the_same(kind, task):
    _, expected, gradient, _ = losses(kind, task, False)
    model, got, its_gradient, feature = losses(kind, task, True)
    assert list(got) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-4, atol=1e-6, msg=name)
    assert torch.dist(its_gradient, gradient) < 1e-4 * gradient.norm()  # rounding: 1e-5
    assert feature.is_contiguous(memory_format=torch.channels_last)
    inputs = torch.randn(2, 3, 64, 64)
    seen = []
    model.student.backbone.register_forward_pre_hook(
        lambda _, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last)))
    model(inputs, mode='tensor')
    assert seen == [True]


def test_a_student_with_operators_of_mmcv_stays_contiguous():
    student = model_config('det')
    student['backbone'].update(dcn=dict(type='DCN', deform_groups=1), depth=50,
                               stage_with_dcn=(False, True, True, False))
    student['neck']['in_channels'] = [32, 64, 128, 256]
    with pytest.raises(ConfigError, match='student_channels_last: DeformConv2dPack'):
        build(dict(type='TeacherFreeDistill', architecture=student, student_channels_last=True,
                   distiller=dict(type='LinkDistiller', links=dict(loss_feat=INTRA))))


@pytest.mark.parametrize('fields, expected', [
    ({}, False), (dict(teacher_dtype='bf16'), True), (dict(teacher_channels_last=True), True)])
def test_a_teacher_with_convolutions_in_groups_gains_in_half_precision(fields, expected):
    teacher = model_config('cls', 16)
    teacher['backbone'].update(type='ResNeXt', depth=50, groups=4, width_per_group=4)
    teacher['head']['in_channels'] = 512
    model = build(dict(type='LeanTeacherDistill', architecture=model_config('cls'), teacher=teacher,
                       random_teacher=True, **fields,
                       distiller=dict(type='LinkDistiller', links=dict(loss_feat=LINK))))
    assert model.teacher_channels_last is expected
    assert model.teacher.backbone.conv1.weight.is_contiguous()
    model(**model.data_preprocessor(batch('cls'), True), mode='loss')  # the first step does it
    weight = model.teacher.backbone.layer1[0].conv2.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) is expected


def dmnet():
    """Its head puts images into the batch's place by a view, which wants contiguous tensors."""
    config = model_config('seg')
    config['decode_head'] = dict(
        type='DMHead', filter_sizes=(1, 3), in_channels=64, in_index=3, channels=8, num_classes=4,
        norm_cfg=dict(type='BN'), loss_decode=dict(type='CrossEntropyLoss'))
    return config


def ld():
    """A detector with a teacher of its own, whose ``to`` takes a device only."""
    config = retina()
    config.update(type='KnowledgeDistillationSingleStageDetector',
                  teacher_config=dict(model=retina()))
    return config


@pytest.mark.parametrize('teacher, place, channels_last, said', [
    (dmnet, 'backbone', True, ''),
    (dmnet, 'decode_head.bottleneck', False, 'view size is not compatible'),
    (ld, 'neck', True, ''),
    (rcnn, 'neck', True, ''),  # the RoIAlign of its head does not run
    (rcnn, 'roi_head.bbox_head', False, 'RoIAlign of mmcv takes contiguous tensors only')])
def test_a_teacher_is_in_channels_last_where_what_runs_can(
        teacher, place, channels_last, said, log):
    student = retina if teacher is ld else teacher
    fields = dict(type='LeanTeacherDistill', architecture=student(), teacher=teacher(),
                  random_teacher=True, distiller=dict(type='LinkDistiller', links=dict(
                      loss_feat=dict(student=place, teacher=place, loss='FeatureL2Loss'))))
    model = build(fields).train()
    assert model.teacher_channels_last is channels_last
    lines = [line for line in log.messages if 'channels_last' in line]
    assert len(lines) == (not channels_last) and all(said in line for line in lines)
    losses = model(**model.data_preprocessor(batch('seg' if teacher is dmnet else 'det'), True),
                   mode='loss')
    weights = [p for p in model.teacher.parameters() if p.ndim == 4 and p.shape[1] > 1
               and p.shape[2] > 1]
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    assert weights and all(p.is_contiguous(memory_format=memory_format) for p in weights)
    assert torch.isfinite(losses['distill.loss_feat'])
    if not channels_last:
        with pytest.raises(ConfigError, match=f'teacher_channels_last: .*{said}'):
            build(dict(fields, teacher_channels_last=True))


def test_fcfd_on_a_roi_head_keeps_its_teacher_contiguous():
    model = build(dict(type='FCFDRoI', architecture=rcnn(), teacher=rcnn(), random_teacher=True))
    assert model.teacher_channels_last is False


# Two stages enter with a convolution of 4 and of 8 channels, 1x1 with a stride.
NARROW = """
import torch
from tests.small import batch, build, model_config
torch.set_num_threads(1)
model = build(dict(type='FCFDDistill', architecture=model_config('cls', 4), paths=dict(num='all'),
                   teacher=model_config('cls', 16), random_teacher=True, **{fields})).train()
seen = []
convolutions = [m for m in model.student.modules() if getattr(m, 'kernel_size', 0) == (1, 1)]
assert [m.in_channels for m in convolutions] == [4, 8, 16]
for m in convolutions[:2]:
    m.register_forward_pre_hook(lambda m, args: seen.append(
        args[0].is_contiguous() and m.weight.stride() == (m.in_channels, 1, 1, 1)))
for _ in range(40):
    data = model.data_preprocessor(batch('cls', 32), True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
print(len(seen), all(seen))
"""


@pytest.mark.train
@pytest.mark.parametrize('fields', ['{}', 'dict(student_channels_last=True)'])
def test_narrow_convolutions_do_not_write_past_their_memory(fields):
    """oneDNN#6035; in a process of its own, which it ended by a signal."""
    ran = subprocess.run([sys.executable, '-c', NARROW.replace('{fields}', fields)],
                         cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout.split()[-1:]) == (0, ['True']), ran.stderr[-2000:]
