"""Hooks and optimizer constructors of the libraries find in an algorithm what they look for."""
import logging
from types import SimpleNamespace

import pytest
import torch
from mmdet.engine.hooks import YOLOXModeSwitchHook
from mmengine.logging import MMLogger
from mmengine.runner.checkpoint import load_state_dict
from mmpretrain.engine.hooks import SwitchRecipeHook
from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor
from mmpretrain.models.utils.batch_augments import RandomBatchAugment

from mmdistill_ext.errors import ConfigError
from tests.reliability.algorithms import ALGORITHMS
from tests.small import batch, build, model_config

LINK = dict(type='LinkDistiller', links=dict(loss_feature=dict(
    student='backbone', teacher='backbone', connector='MLPConnector', loss='FeatureL2Loss')))
VIT = dict(_scope_='mmpretrain', type='VisionTransformer', img_size=32, patch_size=16,
           out_type='featmap', arch=dict(embed_dims=16, num_layers=3, num_heads=2,
                                         feedforward_channels=16))


def distilled(student, teacher=None, **fields):
    return build(dict(type='LeanTeacherDistill', random_teacher=True, architecture=student,
                      teacher=teacher or student, distiller=LINK, **fields))


def test_yolox_turns_on_its_last_loss():
    """In the last 15 of 300 epochs; without the head it would be a traceback after days."""
    head = dict(type='YOLOXHead', num_classes=4, in_channels=16, feat_channels=16, stacked_convs=1)
    student = dict(model_config('det'), type='YOLOX', bbox_head=head, train_cfg=dict(
        assigner=dict(type='SimOTAAssigner')), test_cfg=dict(
            score_thr=.01, nms=dict(type='nms', iou_threshold=.65)))
    student['neck'].update(num_outs=3)
    student['neck'].pop('add_extra_convs')
    model = distilled(student)
    loader = SimpleNamespace(dataset=SimpleNamespace(update_skip_type_keys=lambda keys: None))
    YOLOXModeSwitchHook(num_last_epochs=15).before_train_epoch(SimpleNamespace(
        epoch=285, max_epochs=300, model=model, train_dataloader=loader,
        logger=MMLogger.get_current_instance()))
    assert model.student.bbox_head.use_l1 and not model.teacher.bbox_head.use_l1
    losses = model.train()(**model.data_preprocessor(batch('det'), True), mode='loss')
    assert 'student.loss_l1' in losses


@pytest.mark.parametrize('other', [{}, dict(mean=[100.] * 3)])
def test_augmentation_that_a_hook_switches_on_reaches_both_networks(other):
    """With another normalisation of the teacher too, whose images stay those of the student."""
    student, teacher = model_config('cls'), model_config('cls', 16)
    student['data_preprocessor'].update(num_classes=5, to_onehot=True)
    teacher['data_preprocessor'].update(other)
    model = distilled(student, teacher).train()
    runner = SimpleNamespace(model=model)
    SwitchRecipeHook._switch_batch_augments(runner, RandomBatchAugment(
        dict(type='Mixup', alpha=.8), probs=1.))
    data = model.data_preprocessor(batch('cls', 4), True)
    assert any(sample.gt_score.max() < 1 for sample in data['data_samples'])
    if other:
        theirs = data['teacher_inputs']
        torch.testing.assert_close(theirs, data['inputs'] + (120 - 100) / 60)
    SwitchRecipeHook._switch_batch_augments(runner, None)
    data = model.data_preprocessor(batch('cls', 4), True)
    assert all(sample.gt_score.max() == 1 for sample in data['data_samples'])


def test_a_loss_that_a_hook_switches_is_the_students():
    model, loss = distilled(model_config('cls')), torch.nn.Identity()
    SwitchRecipeHook._switch_loss(SimpleNamespace(model=model), loss)
    assert model.student.head.loss_module is loss is not model.teacher.head.loss_module


def test_layer_wise_decay_is_that_of_the_student_alone():
    student = dict(model_config('cls'), backbone=VIT, neck=dict(type='GlobalAveragePooling'),
                   head=dict(type='LinearClsHead', num_classes=5, in_channels=16))
    model = distilled(student)
    construct = LearningRateDecayOptimWrapperConstructor(
        dict(optimizer=dict(type='SGD', lr=1., weight_decay=.1)),
        paramwise_cfg=dict(layer_decay_rate=.5))

    def rates(network):
        return {weight: group['lr'] for group in construct(network).param_groups
                for weight in group['params'] if weight.requires_grad}

    found, alone = rates(model), rates(model.student)
    assert len(set(alone.values())) == 5  # embedding, three layers, head
    connector = set(model.distiller.parameters())
    assert found == {**alone, **dict.fromkeys(connector, 1.)} and connector


@pytest.mark.parametrize('name', ['mlp cls', 'fcfd cls', 'tffd cls', 'fcfd retinanet'])
def test_a_checkpoint_of_the_student_alone_is_refused(name):
    """mmengine would load nothing of it and train on from random weights."""
    model = build(ALGORITHMS[name][1])
    load_state_dict(model, model.state_dict(), strict=True)
    alone = model.student.state_dict()
    for state in (alone, {f'module.{key}': value for key, value in alone.items()}):
        with pytest.raises(ConfigError, match='has its student under .architecture.'):
            load_state_dict(model, dict(state), strict=False)


def test_nothing_else_is_reached():
    """By the backbone mmdet's layer-wise decay would count layers wrongly."""
    model = distilled(model_config('cls'))
    for name in ('backbone', 'neck', 'bbox_head', 'get_layer_depths'):
        assert not hasattr(model, name)


def warnings_of(log):
    return [record.message for record in log.records if record.levelno >= logging.WARNING]


def test_a_student_that_stands_still_is_said(log):
    distilled(model_config('cls'), student_trainable=False)
    assert any('nothing of the student will train' in line for line in warnings_of(log))


@pytest.mark.parametrize('stated', [True, False])
@pytest.mark.parametrize('name', ['mlp cls', 'tffd cls'])
def test_images_that_nobody_normalises_are_said(name, stated, log):
    config = ALGORITHMS[name][1]
    student = dict(config['architecture'])
    if not stated:
        student.pop('data_preprocessor')
    build(dict(config, architecture=student))
    assert any('states no mean and std' in line for line in warnings_of(log)) != stated
