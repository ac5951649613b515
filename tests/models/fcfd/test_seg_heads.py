"""FCFD through decode heads that read several stages, on small models of mmseg's configs."""
import copy

import pytest
import torch

from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.fcfd.head_checks import check_features
from tests.models.fcfd.heads import (
    algorithm,
    bridged,
    kl_rows,
    losses_of,
    mse,
    preprocessed,
    same_gradients,
)
from tests.models.fcfd.heads import segmentor as pspnet
from tests.models.fcfd.zoo import segmentor
from tests.small import batch, build

STAGES = {  # what each reads, and whether that comes out of a ReLU
    'SegFormer': ((0, 1, 2, 3), False),
    'UPerNet': ((0, 1, 2, 3), True),
    'SemanticFPN': ((0, 1, 2, 3), False),
    'HRNet': ((0, 1, 2, 3), True),
    'DeepLabV3+': ((0, 3), True),
    'DANet': ((3, ), True),
}


def pair(name, **fields):
    return algorithm('FCFDSeg', segmentor(name), segmentor(name, 12), **fields)


def reference(model, inputs, name):
    """All terms from the equations."""
    stages, leaky = STAGES[name]
    maps = {}
    for side in ('student', 'teacher'):
        features = getattr(model, side).extract_feat(inputs)
        maps[side] = [features[stage] for stage in stages]
    f_s, f_t = maps['student'], [x.detach() for x in maps['teacher']]
    b_st = [bridged(b, f, leaky) for b, f in zip(model.bridges['s2t'], f_s)]
    b_ts = [bridged(b, f, leaky) for b, f in zip(model.bridges['t2s'], f_t)]
    assert len(model.bridges['s2t']) == len(model.bridges['t2s']) == len(stages)

    def pixels(net, features):
        listed = [None] * 4
        for stage, feature in zip(stages, features):
            listed[stage] = feature
        logits = net.decode_head(listed)
        logits = logits[0] if name == 'DANet' else logits  # of both attentions, of each alone
        return [image[:, y, x] for image in logits for y in range(image.shape[1])
                for x in range(image.shape[2])]

    target = [p.detach() for p in pixels(model.teacher, f_t)]
    return dict(loss_app=sum(mse(b, f) for b, f in zip(b_st, f_t)),
                loss_kd_kl=kl_rows(pixels(model.student, f_s), target),
                loss_s2t_kl=kl_rows(pixels(model.teacher, b_st), target),
                loss_t2s_kl=kl_rows(pixels(model.student, b_ts), target))


@pytest.mark.parametrize('name', STAGES)
def test_losses_and_gradients_are_those_of_the_equations(name):
    model = pair(name)
    copied = copy.deepcopy(model)
    expected = reference(copied, preprocessed(model, batch('seg'))['inputs'], name)
    assert all(value > 1e-5 for value in expected.values()), expected
    same_gradients(model, copied, losses_of(model, batch('seg')), expected)


@pytest.mark.parametrize('name', ['SegFormer', 'HRNet'])
def test_a_batch_without_labels(name):
    data = batch('seg')
    for sample in data['data_samples']:
        sample.gt_sem_seg.data.fill_(255)
    model = pair(name)
    copied = copy.deepcopy(model)
    expected = reference(copied, preprocessed(model, copy.deepcopy(data))['inputs'], name)
    same_gradients(model, copied, losses_of(model, data), expected)


@pytest.mark.parametrize('name', STAGES)
def test_one_step_as_it_is_trained(name):
    """In float32, with the weights that a run begins with; the teacher is left alone."""
    torch.manual_seed(0)
    model = build(dict(_scope_='mmrazor', type='FCFDSeg', architecture=segmentor(name),
                       teacher=segmentor(name, 12), random_teacher=True))
    model.init_weights()
    model.train()
    before = {k: v.clone() for k, v in model.teacher.state_dict().items()}
    losses = model(**model.data_preprocessor(batch('seg'), True), mode='loss')
    for path in ('kd', 's2t', 't2s'):
        model.zero_grad()
        losses[f'fcfd.loss_{path}_kl'].backward(retain_graph=True)
        part = model.student.decode_head if path == 't2s' else model.student.backbone
        grads = [p.grad for p in part.parameters() if p.grad is not None]
        assert all(torch.isfinite(g).all() for g in grads)
        assert any(g.abs().max() > 0 for g in grads), path
    assert all(torch.equal(v, before[k]) for k, v in model.teacher.state_dict().items())
    assert all(p.grad is None for p in model.teacher.parameters())


@pytest.mark.train
def test_a_head_for_large_images_alone():
    """LRASPP pools 49 by 49 places of stride 8."""
    model = algorithm('FCFDSeg', segmentor('LRASPP'), segmentor('LRASPP'))
    assert len(model.bridges['s2t']) == 3


def test_a_class_token_beside_a_map_is_refused():
    """As DPT reads it."""
    level = [torch.zeros(2, 8, 4, 4), torch.zeros(2, 8)]
    with pytest.raises(ConfigError, match=r"of 'backbone' is \[2, 8, 4, 4\] beside \[2, 8\]; exp"):
        check_features('FCFDSeg, teacher', 'backbone', [level])


QUERIES = 'predicts the masks of queries, .*; expected a head with one map for each class'
WRONG = {
    'KNet': (pspnet(), segmentor('KNet'), f"teacher's IterativeDecodeHead {QUERIES}"),
    'MaskFormer': (segmentor('MaskFormer'), pspnet(), f"student's MaskFormerHead {QUERIES}"),
    'Mask2Former': (pspnet(), segmentor('Mask2Former'), f"teacher's Mask2FormerHead {QUERIES}"),
    'DDRNet': (pspnet(), segmentor('DDRNet'), "teacher's DDRHead reads stages, but in evaluation "
               r'mode the backbone gives one tensor \[2, 128, \d+, \d+\]; expected a backbone'),
    'OCRNet': (segmentor('OCRNet'), pspnet(), "student's decode_head is a list of FCNHead, "
               'OCRHead; expected one of BaseDecodeHead, DepthwiseSeparableASPPHead$'),
    'number of stages': (pspnet(), segmentor('UPerNet'),
                         'student gives 1 levels .* teacher gives 4 levels'),
}


@pytest.mark.parametrize('case', WRONG)
def test_what_does_not_fit_is_an_error_when_the_model_is_built(case):
    student, teacher, message = WRONG[case]
    with pytest.raises(ConfigError, match=message) as error:
        algorithm('FCFDSeg', student, teacher)
    assert '\n' not in str(error.value)
