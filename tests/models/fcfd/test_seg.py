"""FCFD for segmentation against its equations, on small PSPNets and DeepLabV3s."""
import copy

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData

from mmdistill_ext.analysis.measure import flops_of
from mmdistill_ext.errors import ConfigError
from tests.models.fcfd.heads import (
    algorithm,
    bridged,
    kl_rows,
    mse,
    preprocessed,
    rcnn,
    same_gradients,
    segmentor,
)
from tests.small import batch

PAIRS = {
    'PSPNet': (segmentor(), segmentor(12)),
    'DeepLabV3 from PSPNet': (segmentor(8, 'ASPPHead'), segmentor(12)),
    'DeepLabV3': (segmentor(8, 'ASPPHead'), segmentor(12, 'ASPPHead')),
}


def losses_of(model, data=None):
    losses = model(**preprocessed(model, data or batch('seg')), mode='loss')
    return {k[5:]: v for k, v in losses.items() if k.startswith('fcfd.')}


def pixels(logits):
    """``[N, C, H, W] -> [N * H * W, C]``, one pixel after the other."""
    return [image[:, y, x] for image in logits for y in range(image.shape[1])
            for x in range(image.shape[2])]


def reference(model, inputs):
    """All terms from the equations; a head normalises anew on each path, as it is in training."""
    f_s, f_t = model.student.extract_feat(inputs)[3], model.teacher.extract_feat(inputs)[3].detach()
    to_t, to_s = (model.bridges[direction][0] for direction in ('s2t', 't2s'))
    b_st, b_ts = bridged(to_t, f_s, leaky=True), bridged(to_s, f_t, leaky=True)

    def head(net, feature):
        return pixels(net.decode_head([None, None, None, feature]))

    target = [p.detach() for p in head(model.teacher, f_t)]
    return dict(loss_app=mse(b_st, f_t),
                loss_kd_kl=kl_rows(head(model.student, f_s), target),
                loss_s2t_kl=kl_rows(head(model.teacher, b_st), target),
                loss_t2s_kl=kl_rows(head(model.student, b_ts), target))


@pytest.mark.parametrize('norm_eval', [True, False])
@pytest.mark.parametrize('pair', PAIRS)
def test_losses_and_gradients_are_those_of_the_equations(pair, norm_eval):
    model = algorithm('FCFDSeg', *PAIRS[pair], teacher_norm_eval=norm_eval)
    copied = copy.deepcopy(model)
    expected = reference(copied, preprocessed(model, batch('seg'))['inputs'])
    assert all(value > 1e-4 for value in expected.values()), expected
    same_gradients(model, copied, losses_of(model), expected)


def test_images_of_different_sizes():
    data = batch('seg')
    data['inputs'][1] = data['inputs'][1][:, :50, :40]
    labels = data['data_samples'][1].gt_sem_seg.data[:, :50, :40]
    data['data_samples'][1].gt_sem_seg = PixelData(data=labels)
    model = algorithm('FCFDSeg', *PAIRS['PSPNet'])
    copied = copy.deepcopy(model)
    expected = reference(copied, preprocessed(model, copy.deepcopy(data))['inputs'])
    same_gradients(model, copied, losses_of(model, data), expected)


def test_an_image_without_labels():
    data = batch('seg')
    data['data_samples'][1].gt_sem_seg.data.fill_(255)
    model = algorithm('FCFDSeg', *PAIRS['PSPNet'])
    copied = copy.deepcopy(model)
    expected = reference(copied, preprocessed(model, copy.deepcopy(data))['inputs'])
    same_gradients(model, copied, losses_of(model, data), expected)


def test_a_feature_after_a_relu_gets_a_bridge_with_leaky_relu():
    model = algorithm('FCFDSeg', *PAIRS['PSPNet'])
    assert isinstance(model.bridges['s2t'][0].act, torch.nn.LeakyReLU)
    assert isinstance(model.bridges['t2s'][0].act, torch.nn.LeakyReLU)


def step(model):
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=.01))
    losses, _ = model.parse_losses(model(**preprocessed(model, batch('seg')), mode='loss'))
    optimizer.update_params(losses)


@pytest.mark.parametrize('norm_eval', [True, False])
def test_the_teacher_is_never_changed(norm_eval):
    model = algorithm('FCFDSeg', *PAIRS['PSPNet'], teacher_norm_eval=norm_eval)
    alone = copy.deepcopy(model.teacher)
    inputs = preprocessed(model, batch('seg'))['inputs']
    step(model)
    with torch.no_grad():  # what the pure path alone does to it
        alone(inputs)
    assert all(torch.equal(v, alone.state_dict()[k]) for k, v in model.teacher.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in model.teacher.parameters())


@pytest.mark.parametrize('norm_eval', [True, False])
def test_the_students_statistics_and_losses_are_those_of_a_student_alone(norm_eval):
    model = algorithm('FCFDSeg', *PAIRS['PSPNet'], teacher_norm_eval=norm_eval)
    alone = copy.deepcopy(model.student)
    data = preprocessed(model, batch('seg'))
    own, losses = alone(**data, mode='loss'), model(**data, mode='loss')
    assert all(torch.equal(value, losses[f'student.{key}']) for key, value in own.items())
    for key, value in model.student.state_dict().items():
        assert torch.equal(value, alone.state_dict()[key]), key


def test_each_path_has_statistics_of_its_own():
    model = algorithm('FCFDSeg', *PAIRS['PSPNet'], teacher_norm_eval=False)
    copied = copy.deepcopy(model)
    inputs = preprocessed(model, batch('seg'))['inputs']
    losses_of(model)
    seen = []
    for net, source, path in ((copied.teacher, copied.student, 's2t'),
                              (copied.student, copied.teacher, 't2s')):
        conv = net.decode_head.bottleneck.conv
        conv.register_forward_hook(lambda _, __, y: seen.append(y.detach()))
        feature = source.extract_feat(inputs)[3]
        net.decode_head({3: bridged(copied.bridges[path][0], feature, leaky=True)})
        before, after = (getattr(m.path_stats, path)['decode_head/bottleneck/bn']
                         for m in (copied, model))
        y = seen.pop()
        torch.testing.assert_close(
            after.running_mean, .9 * before.running_mean + .1 * y.mean((0, 2, 3)))
        torch.testing.assert_close(
            after.running_var, .9 * before.running_var + .1 * y.var((0, 2, 3)))
    assert any(key.startswith('path_stats.t2s.decode_head/psp') for key in model.state_dict())


def test_multiply_adds_of_the_extra_work():
    model = algorithm('FCFDSeg', *PAIRS['DeepLabV3 from PSPNet'])
    data = preprocessed(model, batch('seg'))
    f_s, f_t = (net.extract_feat(data['inputs'])[3] for net in (model.student, model.teacher))
    total = flops_of(lambda: model(**data, mode='loss'))
    student = flops_of(lambda: model.student(**data, mode='loss'))
    features = flops_of(lambda: model.teacher.extract_feat(data['inputs']))
    teachers = flops_of(lambda: model.teacher.decode_head({3: f_t}))
    students = flops_of(lambda: model.student.decode_head({3: f_s}))
    bridges = flops_of(lambda: (model.bridges['s2t'][0](f_s), model.bridges['t2s'][0](f_t)))
    assert total - student - features == 2 * teachers + students + bridges


def strided(config):
    config = copy.deepcopy(config)
    config['backbone'].update(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2))
    return config


WRONG = {
    'classes': (segmentor(), segmentor(num_classes=7), 'the number of classes.* is 4, .* 7'),
    'strides': (segmentor(), strided(segmentor()), r'levels of \(16, 16\) .* levels of \(8, 8\)'),
    'several stages': (segmentor(), segmentor(
        head='FCNHead', in_index=[2, 3], input_transform='resize_concat'),
        r"teacher's FCNHead reads the stages \[2, 3\]"),
    'low level': (segmentor(), segmentor(
        head='DepthwiseSeparableASPPHead', c1_in_channels=8, c1_channels=4),
        'teacher: DepthwiseSeparableASPPHead does not run alone on'),
    'one channel': (*[segmentor(num_classes=2, out_channels=1)] * 2, 'one channel for two classes'),
    'detectors': (rcnn(), rcnn(), "student: FasterRCNN has no 'decode_head'"),
}


@pytest.mark.parametrize('case', WRONG)
def test_what_does_not_fit_is_an_error_when_the_model_is_built(case):
    student, teacher, message = (copy.deepcopy(x) for x in WRONG[case])
    for config in (student, teacher):
        if config.get('decode_head', {}).get('type') == 'FCNHead':
            config['decode_head']['in_channels'] = [32, 64]
            del config['decode_head']['dilations']
    with pytest.raises(ConfigError, match=message) as error:
        algorithm('FCFDSeg', student, teacher)
    assert '\n' not in str(error.value)


def ema_net(width=8):
    config = segmentor(width)
    del config['decode_head']['pool_scales']
    config['decode_head'].update(type='EMAHead', ema_channels=16, num_bases=4, num_stages=2)
    return config


@pytest.mark.parametrize('norm_eval', [True, False])
def test_a_student_that_moves_other_buffers_than_batch_norms_is_refused(norm_eval):
    model = algorithm('FCFDSeg', ema_net(), segmentor(12), teacher_norm_eval=norm_eval)
    with pytest.raises(ConfigError) as error:
        step(model)
    assert str(error.value) == (
        "FCFD, path t2s: 'decode_head.ema_module' of the EMAHead moves its buffer 'bases' in "
        'training, and would move it on this path too; expected a network in which BatchNorm alone '
        'moves buffers')


@pytest.mark.parametrize('norm_eval', [True, False])
def test_a_teachers_other_buffers_do_not_move(norm_eval):
    model = algorithm('FCFDSeg', segmentor(), ema_net(12), teacher_norm_eval=norm_eval)
    before = model.teacher.decode_head.ema_module.bases.clone()
    step(model)
    assert torch.equal(model.teacher.decode_head.ema_module.bases, before)


def test_fused_and_half_precision_teachers_give_finite_losses():
    model = algorithm('FCFDSeg', *PAIRS['PSPNet'], teacher_dtype='bf16').float()
    model.teacher.backbone.bfloat16()
    losses = model(**model.data_preprocessor(batch('seg'), True), mode='loss')
    assert all(torch.isfinite(v).all() for k, v in losses.items() if k.startswith('fcfd.'))
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in model.teacher.modules())


def test_mixed_precision():
    model = algorithm('FCFDSeg', *PAIRS['PSPNet']).float()
    with torch.autocast('cpu', torch.bfloat16):
        losses = model(**model.data_preprocessor(batch('seg'), True), mode='loss')
    added = {k: v for k, v in losses.items() if k.startswith('fcfd.')}
    assert all(v.dtype == torch.float and torch.isfinite(v) for v in added.values())
    sum(added.values()).backward()
    assert all(p.grad is not None for p in model.bridges.parameters())
