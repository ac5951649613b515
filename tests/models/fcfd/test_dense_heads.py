"""FCFD through each of mmdet's dense heads against its equations, on small models."""
import copy
import re
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from mmengine.hub import get_config
from mmengine.logging import MessageHub

from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.fcfd import HEADS
from tests.models.fcfd.heads import (
    algorithm,
    bridged,
    images,
    in_double,
    losses_of,
    mse,
    preprocessed,
    same_gradients,
)
from tests.models.fcfd.zoo import DETECTORS, RESNET, detector
from tests.small import batch, build

CLASSES = 4


@pytest.fixture(autouse=True)
def first_epoch():
    """TOOD's loss asks the runner which epoch it is."""
    MessageHub.get_current_instance().update_info('epoch', 0)


@pytest.fixture
def double(monkeypatch):
    """mmdet's heads put boxes in float32, lest they overflow in half precision; here in float64."""
    cast = torch.Tensor.float
    monkeypatch.setattr(torch.Tensor, 'float',
                        lambda x: x if x.dtype == torch.double else cast(x))


def branches(head, features):
    """Class probabilities, box and third branch of each prior: image, level, position by position.

    Classes as logits but for TOOD, which gives probabilities. A box is what the head learns, in
    strides where it learns pixels.
    """
    kind, before = type(head).__name__, head.training
    head.training = True  # of itself alone: in which form it returns maps
    levels = list(zip(*head(features)))
    head.training = before
    probabilities, boxes, others = [], [], []
    for stride, (classes, *rest) in zip((8, 16, 32, 64, 128), levels):
        if kind == 'VFNetHead':  # first and refined distances
            box, third = rest[1] / stride, None
        elif kind == 'RTMDetSepBNHead' or (kind == 'FCOSHead' and not head.norm_on_bbox):
            box, third = rest[0] / stride, rest[1] if len(rest) > 1 else None
        else:
            box, third = rest[0], rest[1] if len(rest) > 1 else None
        sides = 4 * 17 if kind == 'GFLHead' else 4
        assert (box.shape[1], classes.shape[1]) == (sides, CLASSES)
        for n in range(len(classes)):
            for y in range(classes.shape[2]):
                for x in range(classes.shape[3]):
                    logits = classes[n, :, y, x]
                    probabilities.append(logits if kind == 'TOODHead' else
                                         1 / (1 + (-logits).exp()))
                    boxes.append(box[n, :, y, x])
                    others.append(third[n, 0, y, x] if third is not None else None)
    return probabilities, boxes, others


def bce(s, t):
    return -(t * s.log() + (1 - t) * (1 - s).log())


def bernoulli_kl(s, t):
    return t * (t / s).log() + (1 - t) * ((1 - t) / (1 - s)).log()


def sigmoid(x):
    return 1 / (1 + (-x).exp())


def classes_loss(kind, s, t, confident, threshold):
    """Of one prior, all its classes."""
    if kind == 'VFNetHead':
        return sum(q * bernoulli_kl(p, q) if q > threshold else .75 * (q - p)**2 * bce(p, q)
                   for p, q in zip(s, t))
    if kind == 'YOLOXHead':
        return bernoulli_kl(s, t).sum() if confident else 0 * s.sum()
    return ((t - s)**2 * bce(s, t)).sum()


def box_loss(kind, box, target):
    """Of one prior: the mean of its four sides."""
    if kind != 'GFLHead':
        return ((box - target)**2).sum() / 4
    total = 0
    for side in range(4):
        p, q = (x[17 * side:17 * side + 17].exp() for x in (box, target))
        p, q = p / p.sum(), q / q.sum()
        total = total + (q * (q / p).log()).sum()
    return total / 4


def reference(model, inputs, threshold):
    """All terms from the equations, and which share of the priors the teacher is confident at."""
    f_s, f_t = model.student.extract_feat(inputs), model.teacher.extract_feat(inputs)
    b_st = [bridged(b, f) for b, f in zip(model.bridges['s2t'], f_s)]
    b_ts = [bridged(b, f.detach()) for b, f in zip(model.bridges['t2s'], f_t)]
    student, teacher = model.student.bbox_head, model.teacher.bbox_head
    kind = type(teacher).__name__
    t, boxes_t, others_t = ([None if x is None else x.detach() for x in part]
                            for part in branches(teacher, f_t))
    scores = [max(p) * (sigmoid(o) if kind == 'YOLOXHead' else 1) for p, o in zip(t, others_t)]
    confident = [bool(score > threshold) for score in scores]
    count = max(sum(confident), 1)
    losses = dict(loss_app=sum(mse(b, f.detach()) for b, f in zip(b_st, f_t)))
    for name, (s, boxes, others) in dict(kd=branches(student, f_s), s2t=branches(teacher, b_st),
                                         t2s=branches(student, b_ts)).items():
        losses[f'loss_{name}_cls'] = sum(
            classes_loss(kind, *row, threshold) for row in zip(s, t, confident)) / count
        losses[f'loss_{name}_box'] = sum(
            (box_loss(kind, box, target) if sure else 0 * box.sum())
            for box, target, sure in zip(boxes, boxes_t, confident)) / count
        third = dict(FCOSHead='centerness', ATSSHead='centerness', PAAHead='iou', DDODHead='iou',
                     YOLOXHead='obj').get(kind)
        if third:
            losses[f'loss_{name}_{third}'] = sum(
                (bernoulli_kl(sigmoid(o), sigmoid(target)) if sure or third == 'obj' else 0 * o)
                for o, target, sure in zip(others, others_t, confident)) / count
    return losses, scores


def pair(name, **fields):
    return in_double(detector(name), detector(name, 12), **fields)


@pytest.mark.parametrize('name', DETECTORS)
def test_losses_and_gradients_are_those_of_the_equations(name, double):
    model = pair(name)
    data = images()
    inputs = preprocessed(model, copy.deepcopy(data))['inputs']
    _, scores = reference(copy.deepcopy(model), inputs, .05)
    half = float(torch.stack(scores).median()) + 1e-9  # not one of them: rounding would decide
    model.loss_func.score_thr = half
    copied = copy.deepcopy(model)
    expected, _ = reference(copied, inputs, half)
    assert all(value > 1e-4 for value in expected.values()), expected
    same_gradients(model, copied, losses_of(model, data), expected)


def test_the_pages_head_of_your_own():
    """docs/fcfd_det_seg.md: without its lines the head is not known, with them it is compared."""
    with pytest.raises(ConfigError, match="student's bbox_head is DDODHead; expected one of"):
        pair('DDOD')
    page = (Path(__file__).parents[3] / 'docs/fcfd_det_seg.md').read_text()
    lines = re.match(r'( {4}.*\n|\n)+', page[page.index('    from mmdistill_ext'):])[0]
    try:
        exec(dedent(lines), {'__name__': 'a_page'})
        model = algorithm('FCFDDense', detector('DDOD'), detector('DDOD', 12)).float()
        data = model.data_preprocessor(batch('det', size=384), True)
        losses = {k: v for k, v in model(**data, mode='loss').items() if k.startswith('fcfd.loss_')}
        terms = {f'fcfd.loss_{path}_{term}' for path in ('kd', 's2t', 't2s')
                 for term in ('cls', 'box', 'iou')}
        assert losses.keys() == {'fcfd.loss_app', *terms}
        sum(losses[term] for term in terms).backward()
        grads = [p.grad for p in model.student.bbox_head.parameters() if p.grad is not None]
        assert all(torch.isfinite(g).all() for g in grads) and any(g.any() for g in grads)
    finally:
        HEADS.module_dict.pop('DDODHead')


@pytest.mark.train
@pytest.mark.parametrize('kind', ['one empty', 'all empty'])
@pytest.mark.parametrize('name', DETECTORS)
def test_images_without_objects(name, kind, double):
    model = pair(name)
    copied, data = copy.deepcopy(model), images(kind)
    expected, _ = reference(copied, preprocessed(model, copy.deepcopy(data))['inputs'], .05)
    same_gradients(model, copied, losses_of(model, data), expected)


@pytest.mark.train
@pytest.mark.parametrize('name', DETECTORS)
def test_a_teacher_that_is_sure_of_nothing_says_nothing_about_boxes(name, double):
    thr = .999999
    model = pair(name, loss_func=dict(type='DenseAnswerLoss', score_thr=thr))
    copied, data = copy.deepcopy(model), images('all empty')
    expected, scores = reference(copied, preprocessed(model, copy.deepcopy(data))['inputs'], thr)
    assert max(scores) < thr
    losses = losses_of(model, data)
    assert all(float(losses[f'loss_{name}_box']) == 0 for name in ('kd', 's2t', 't2s'))
    same_gradients(model, copied, losses, expected)


@pytest.mark.train
@pytest.mark.parametrize('name', DETECTORS)
def test_a_student_equal_to_its_teacher_pays_nothing_for_outputs(name, double):
    """Although its head runs in training mode and the teacher's does not."""
    model = in_double(detector(name), detector(name), teacher_fuse_bn=False)
    model.loss_func.score_thr = .3
    model.teacher.load_state_dict(model.student.state_dict())
    for module in model.student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    losses = losses_of(model)
    for term, value in losses.items():
        assert term == 'loss_app' or not term.startswith('loss_kd') or abs(value) < 1e-12, term
    assert losses['loss_app'] > 0


@pytest.mark.train
@pytest.mark.parametrize('name', DETECTORS)
def test_one_step_as_it_is_trained(name):
    """In float32, with the weights that a run begins with; the teacher is left alone."""
    torch.manual_seed(0)
    model = build(dict(_scope_='mmrazor', type='FCFDDense', architecture=detector(name),
                       teacher=detector(name, 12), random_teacher=True))
    model.init_weights()
    model.train()
    before = {k: v.clone() for k, v in model.teacher.state_dict().items()}
    losses = model(**model.data_preprocessor(images(), True), mode='loss')
    added = {k: v for k, v in losses.items() if k.startswith('fcfd.loss_')}
    for path in ('kd', 's2t', 't2s'):
        model.zero_grad()
        sum(v for k, v in added.items() if k.startswith(f'fcfd.loss_{path}')).backward(
            retain_graph=True)
        part = model.student.bbox_head if path == 't2s' else model.student.backbone
        grads = [p.grad for p in part.parameters() if p.grad is not None]
        assert all(torch.isfinite(g).all() for g in grads)
        assert any(g.abs().max() > 0 for g in grads), path
    total, _ = model.parse_losses(losses)
    assert torch.isfinite(total)
    assert all(torch.equal(v, before[k]) for k, v in model.teacher.state_dict().items())
    assert all(p.grad is None for p in model.teacher.parameters())


@pytest.mark.train
@pytest.mark.parametrize('name', sorted(set(DETECTORS) - {'VFNet', 'TOOD', 'TOOD, anchor-based'}))
def test_mixed_precision(name):
    """Without VFNet and TOOD: mmcv's deformable convolution takes no bf16."""
    model = algorithm('FCFDDense', detector(name), detector(name, 12)).float()
    with torch.autocast('cpu', torch.bfloat16):
        losses = model(**model.data_preprocessor(images(), True), mode='loss')
    added = {k: v for k, v in losses.items() if k.startswith('fcfd.')}
    assert all(v.dtype == torch.float and torch.isfinite(v) for v in added.values())
    sum(added.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.bridges.parameters())


def without_boxes_at_places(path):
    """A detector of mmdet's configs with a small backbone."""
    config = get_config(f'mmdet::{path}').model.to_dict()
    stages = (3, ) if 'detr' in path else (0, 1, 2, 3)
    config['backbone'] = dict(RESNET, out_indices=stages)
    config['neck']['in_channels'] = [8 * 2**stage for stage in stages]
    return dict(config, _scope_='mmdet')


WRONG = {
    'DETR': (detector('FCOS'), without_boxes_at_places('detr/detr_r18_8xb2-500e_coco.py'),
             "teacher's DETRHead predicts the boxes of queries, .*; expected a head with boxes"),
    'SOLO': (without_boxes_at_places('solo/solo_r18_fpn_8xb8-lsj-200e_coco.py'), detector('FCOS'),
             "student: SOLO has no 'bbox_head'; expected a model with one"),
    'bins': (detector('GFL'), detector('GFL', reg_max=8), 'bins of .* is 17, .* 9; they must'),
    'kinds': (detector('ATSS'), detector('PAA'), 'kind of .* is ATSSHead, .* PAAHead'),
    'losses': (detector('VFNet'), detector('VFNet', use_vfl=False, loss_cls=dict(
        type='FocalLoss', use_sigmoid=True)), 'class_loss of .* is varifocal, .* focal'),
    'strides': (detector('YOLOX'), detector('YOLOX', strides=(4, 8, 16)), 'strides of '),
    'offset': (detector('RTMDet-l'), detector('RTMDet-l', anchor_generator=dict(
        type='MlvlPointGenerator', offset=.5, strides=[8, 16, 32])), 'offset of .* is 0, .* 0.5'),
    'base edges': (detector('FoveaBox'), detector('FoveaBox', base_edge_list=[8, 16, 32, 64, 128]),
                   'base_edge_list of '),
    'box coder': (detector('FSAF'), detector('FSAF', bbox_coder=dict(
        type='TBLRBBoxCoder', normalizer=2.)), "'TBLRBBoxCoder', 4.0.*, .*'TBLRBBoxCoder', 2.0"),
    'overriding': (detector('FCOS'), detector('FCOS', type='AutoAssignHead'),
                   'AutoAssignHead overrides forward_single of FCOSHead, .*; expected a head with'),
}


@pytest.mark.parametrize('case', WRONG)
def test_what_does_not_fit_is_an_error_when_the_model_is_built(case):
    student, teacher, message = copy.deepcopy(WRONG[case])
    with pytest.raises(ConfigError, match=message) as error:
        algorithm('FCFDDense', student, teacher)
    assert '\n' not in str(error.value)
