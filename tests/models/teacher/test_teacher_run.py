"""What reaches the teacher: the batch, its format, and no state of anybody else's."""
import copy
import random

import numpy as np
import pytest
import torch
from mmengine.model import ImgDataPreprocessor
from mmengine.structures import BaseDataElement

from mmdistill_ext.models.teacher import preprocessor
from mmdistill_ext.models.teacher.preprocessor import TwoPreprocessors, preprocessor_for
from projects.bench.operators import operators_of
from tests.small import batch, build, model_config

LINK = dict(student='backbone.layer4', teacher='backbone.layer4', connector='MLPConnector',
            loss='FeatureL2Loss')


def algorithm(task='cls', **fields):
    torch.manual_seed(0)
    return build(dict(
        type='LeanTeacherDistill', random_teacher=True, architecture=model_config(task),
        teacher=model_config(task, 16), distiller=dict(type='LinkDistiller', links=dict(
            loss_feature=LINK)), **fields)).train()


def losses(model, task='cls'):
    return model(**model.data_preprocessor(batch(task), True), mode='loss')


@pytest.mark.parametrize('dtype, autocast', [('bf16', False), (None, True)])
def test_autocast_is_off_for_a_teacher_of_a_precision_of_its_own(dtype, autocast):
    model, product = algorithm(teacher_dtype=dtype), {}
    for side in ('teacher', 'student'):
        getattr(model, side).backbone.register_forward_pre_hook(
            lambda *_, side=side: product.update({side: (torch.eye(2) @ torch.eye(2)).dtype}))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses(model)
    assert product['student'] == torch.bfloat16
    assert product['teacher'] == (torch.bfloat16 if autocast else torch.float32)


def test_teacher_module_inplace():
    def inplace(model):
        return [module.inplace for module in model.teacher.modules() if hasattr(module, 'inplace')]

    assert any(inplace(algorithm()))
    off = inplace(algorithm(teacher_module_inplace=False))
    assert off and not any(off)


def test_what_mmrazors_own_algorithms_record_is_not_overwritten():
    """A ReLU follows the BatchNorm; MMRazor turns ``inplace`` off in all of the student."""
    torch.manual_seed(0)
    model = build(dict(
        type='SelfDistill', architecture=model_config('cls'), distiller=dict(
            type='ConfigurableDistiller',
            student_recorders=dict(bn=dict(type='ModuleOutputs', source='backbone.bn1')))))
    losses(model.train())
    assert model.distiller.student_recorders.get_recorder('bn').data_buffer[0].min() < 0


@pytest.mark.parametrize('channels_last', [True, False])
def test_the_batch_is_in_the_teachers_memory_format(channels_last):
    model, formats = algorithm(teacher_channels_last=channels_last), []
    model.teacher.backbone.register_forward_pre_hook(lambda _, args: formats.append(
        args[0].is_contiguous(memory_format=torch.channels_last)))
    losses(model)
    assert formats == [channels_last]


MOCO = dict(
    _scope_='mmpretrain', type='MoCo', queue_len=8, feat_dim=8, momentum=.1,
    data_preprocessor=dict(type='SelfSupDataPreprocessor', mean=[120.] * 3, std=[60.] * 3),
    backbone=model_config('cls')['backbone'],
    neck=dict(type='MoCoV2Neck', in_channels=64, hid_channels=8, out_channels=8,
              with_avg_pool=True),
    head=dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss')))


@pytest.mark.parametrize('dtype', [None, 'bf16'])
def test_a_batch_of_several_views(dtype):
    model = build(dict(
        type='LeanTeacherDistill', architecture=MOCO, teacher=MOCO, random_teacher=True,
        teacher_dtype=dtype, distiller=dict(
            type='LinkDistiller', links=dict(loss_feature=LINK)))).train()
    views = [torch.stack(batch('cls', size=size)['inputs']) for size in (64, 32)]
    data = dict(inputs=views, data_samples=batch('cls')['data_samples'])
    seen = []
    model.teacher.backbone.register_forward_pre_hook(lambda _, args: seen.extend(args))
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    assert torch.isfinite(losses['distill.loss_feature'])
    assert [x.dtype for x in seen] == [torch.bfloat16 if dtype else torch.float32]
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in seen)


DRAWS = dict(random=random.random, numpy=np.random.rand, torch=lambda: torch.rand(1).item())


class Shifting(ImgDataPreprocessor):
    """Adds a random number to the batch."""

    def __init__(self, source, **kwargs):
        super().__init__(**kwargs)
        self.source = source

    def forward(self, data, training=False):
        data = super().forward(data, training)
        return dict(data, inputs=data['inputs'] + DRAWS[self.source]())


@pytest.mark.parametrize('source', DRAWS)
def test_both_networks_get_one_random_draw(source):
    """Whichever generator it is from, and the next draw is what it would be without a teacher."""
    data = dict(inputs=[torch.zeros(3, 4, 4)], data_samples=None)
    student = Shifting(source, mean=[0.] * 3, std=[1.] * 3)
    two = TwoPreprocessors(student, dict(mean=torch.ones(3, 1, 1), std=torch.ones(3, 1, 1)))

    def seeded(preprocessor):
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        return preprocessor(data, True), DRAWS[source]()

    (alone, after_alone), (both, after_both) = seeded(student), seeded(two)
    assert torch.equal(both['inputs'], alone['inputs']) and after_alone == after_both
    assert torch.equal(both['teacher_inputs'], both['inputs'] - 1)


def test_labels_are_mixed_once():
    """mmpretrain writes mixed labels into the samples, and mixes those that it finds there."""

    def mixing(mean):
        config = model_config('cls')
        config['data_preprocessor'].update(mean=[mean] * 3, num_classes=5)
        return build(dict(config, train_cfg=dict(augments=[dict(type='Mixup', alpha=1.)]))
                     ).data_preprocessor

    student = mixing(120.)
    scores = []
    for each in (student, preprocessor_for(student, mixing(100.))):
        np.random.seed(0), torch.manual_seed(0)
        samples = each(batch('cls', images=4), True)['data_samples']
        scores.append(torch.stack([sample.gt_score for sample in samples]))
    assert torch.equal(*scores) and ((0 < scores[0]) & (scores[0] < 1)).any()


def two_of(task, students=(), **teachers):
    """The preprocessor for both of a student and a teacher with other settings."""
    config, other = model_config(task), model_config(task)
    config['data_preprocessor'].update(students)
    other['data_preprocessor'].update(teachers)
    return preprocessor_for(build(config).data_preprocessor, build(other).data_preprocessor)


@pytest.mark.parametrize('task', ['cls', 'seg', 'det'])
def test_another_mean_costs_one_pass_and_no_copy_of_a_sample(task, monkeypatch):
    two, data = two_of(task, mean=[1., 2., 3.], std=[4., 5., 6.]), batch(task)
    monkeypatch.setattr(preprocessor, '_with_own_fields', None)
    own = operators_of(lambda: two.student(copy.deepcopy(data), True))
    both = operators_of(lambda: two(copy.deepcopy(data), True))
    both.subtract(own)
    assert +both == dict(empty_like=1, add=3)  # each writes a third of the batch


@pytest.mark.parametrize('task', ['cls', 'seg', 'det'])
def test_samples_that_are_written_to_keep_no_trace_of_the_teachers_pass(task):
    raw = dict(students=dict(mean=None, std=None))
    two = two_of(task, **dict(cls=dict(pad_size_divisor=48), seg=raw,
                              det=dict(pad_size_divisor=48))[task])
    assert not two.renormalises

    def contents(sample):
        return {'meta': sample.metainfo, **{
            key: contents(value) if isinstance(value, BaseDataElement) else value.tolist()
            for key, value in sample.items()}}

    both, alone = (each(batch(task), True)['data_samples'] for each in (two, two.student))
    assert [*map(contents, both)] == [*map(contents, alone)]


def test_the_images_are_not_copied_with_the_samples():
    data = batch('seg')
    maps = [sample.gt_sem_seg.data for sample in data['data_samples']]
    fields = preprocessor._with_own_fields(data['data_samples'])
    assert all(own.gt_sem_seg.data is label for own, label in zip(fields, maps))
    assert all(own.gt_sem_seg is not sample.gt_sem_seg
               for own, sample in zip(fields, data['data_samples']))
