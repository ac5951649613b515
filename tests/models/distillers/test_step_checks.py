"""Links that would train on without teaching stop in the first training step."""
import pytest
import torch
from mmrazor.models.algorithms import SingleTeacherDistill
from torch.utils.checkpoint import checkpoint

from mmdistill_ext.errors import ConfigError
from tests.small import batch, build, model_config

LOSS = dict(type='FeatureL2Loss', loss_weight=1.)


def algorithm(student, task='cls', fields=(), /, **link):
    link = dict(dict(student='backbone.layer4', teacher='backbone.layer4',
                     connector='MLPConnector', loss=LOSS), **link)
    return build(dict(
        type='LeanTeacherDistill', random_teacher=True, architecture=student,
        teacher=model_config(task, 16), **dict(fields),
        distiller=dict(type='LinkDistiller', links=dict(loss_feat=link))))


def self_taught(student, *places):
    return build(dict(
        type='TeacherFreeDistill', architecture=student, distiller=dict(
            type='LinkDistiller', links=dict(loss_intra=dict(
                student=list(places), loss=dict(type='TfFDIntraLoss', loss_weight=1.))))))


def step(model, task='cls'):
    model.train()
    return model(**model.data_preprocessor(batch(task), True), mode='loss')


def error_of(model, task='cls'):
    with pytest.raises(ConfigError) as error:
        step(model, task)
    assert '\n' not in str(error.value)
    return str(error.value)


def frozen(stages):
    config = model_config('cls')
    config['backbone']['frozen_stages'] = stages
    return config


def test_a_link_at_a_frozen_stage():
    message = error_of(algorithm(frozen(4)))
    assert "link 'loss_feat', student" in message and "'backbone.layer4'" in message
    assert step(algorithm(frozen(3)))['distill.loss_feat'].requires_grad


def test_a_frozen_stage_is_fine_where_only_the_connector_trains():
    model = algorithm(frozen(4), 'cls', dict(student_trainable=False))
    assert step(model)['distill.loss_feat'].requires_grad


@pytest.mark.parametrize('type_', ['LeanTeacherDistill', 'SingleTeacherDistill'])
def test_a_student_that_does_not_train_on_purpose(type_):
    model = algorithm(model_config('cls'), 'cls', dict(student_trainable=False))
    if type_ == 'SingleTeacherDistill':
        model.loss = lambda *args: SingleTeacherDistill.loss(model, *args[:2])
    assert step(model)['distill.loss_feat'].requires_grad


def test_the_frozen_layers_of_a_list_are_named():
    message = error_of(self_taught(
        frozen(2), *(f'backbone.layer{k}' for k in (1, 2, 3))))
    assert "'backbone.layer1', 'backbone.layer2', because" in message and 'layer3' not in message


def test_a_link_inside_a_checkpointed_block():
    model = algorithm(model_config('cls'), student='backbone.layer4.0.conv2')
    block = model.student.backbone.layer4[0]
    forward = block.forward
    block.forward = lambda x: checkpoint(forward, x, use_reentrant=True)
    message = error_of(model)
    assert "'backbone.layer4.0.conv2'" in message and 'checkpointed' in message


@pytest.mark.parametrize('link', [{}, dict(student='backbone.layer4.0', teacher='backbone.layer4')])
def test_a_checkpointed_block_itself_is_taught(link):
    config = model_config('cls')
    config['backbone']['with_cp'] = True
    model = algorithm(config, **link)
    step(model)['distill.loss_feat'].backward()
    grad = model.student.backbone.layer4[0].conv1.weight.grad
    assert grad is not None and grad.abs().sum() > 0


def real_time(kind, **fields):
    """DDRNet and PIDNet return one map in evaluation, and several in training."""
    config = model_config('seg')
    heads = dict(DDRNet=dict(type='DDRHead', in_channels=32), PIDNet=dict(
        type='PIDHead', in_channels=32))
    norm = dict(type='BN', requires_grad=True)
    loss = dict(type='CrossEntropyLoss')
    config['backbone'] = dict(type=kind, channels=8, ppm_channels=8, norm_cfg=norm, **fields)
    config['decode_head'] = dict(
        heads[kind], channels=8, num_classes=4, norm_cfg=norm, align_corners=False,
        loss_decode=[loss, loss] if kind == 'DDRNet' else [
            loss, loss, dict(type='BoundaryLoss'), loss])
    return config


def test_equal_widths_do_not_pass_by_luck():
    """Tf-FD takes a map of any width: the auxiliary one was taught in the place of the output."""
    message = error_of(self_taught(real_time('DDRNet'), 'backbone'), 'seg')
    for part in ("'backbone' ran 1 times in this training step", 'evaluation mode',
                 '[2, 16, 8, 8], [2, 32, 8, 8]', '32 channels'):
        assert part in message


def test_a_student_with_other_outputs_in_training():
    message = error_of(algorithm(
        real_time('DDRNet'), 'seg', student='backbone', resize=True), 'seg')
    assert 'link' in message and "'backbone'" in message and 'evaluation mode' in message


def test_a_batch_of_another_size_is_not_broadcast():
    """TridentNet puts its branches into the batch, in training only."""
    model = algorithm(model_config('cls'), loss='L2Loss')
    level, = model.distiller.levels['loss_feat']
    with pytest.raises(ConfigError, match='as many samples in training and evaluation'):
        model.distiller.level_loss(model.distiller.links[0], level,
                                   torch.randn(3, 64, 2, 2), torch.randn(1, 128, 2, 2))


def test_evaluation_is_not_checked():
    """What draws and measures runs without gradient."""
    model = algorithm(frozen(4)).eval()
    with torch.no_grad():
        assert model(**model.data_preprocessor(batch('cls'), False), mode='loss')
