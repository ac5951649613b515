"""FCFD for one-stage detectors against its equations, on small RetinaNets and RepPoints."""
import copy
import math

import pytest
import torch
from mmengine.optim import OptimWrapper

from mmdistill_ext.analysis.measure import flops_of
from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.fcfd.dense_loss import DenseAnswerLoss, DenseOutputs
from tests.models.fcfd.heads import (
    algorithm,
    bridged,
    images,
    in_double,
    losses_of,
    mse,
    preprocessed,
    rcnn,
    reppoints,
    retina,
    same_gradients,
    yolof,
)

ANCHORS = dict(type='AnchorGenerator', octave_base_scale=4, scales_per_octave=2, ratios=[1., 2.],
               strides=[8, 16, 32, 64, 128])
PAIRS = {
    'RetinaNet': (retina(), retina(12)),
    'RetinaNet, 4 anchors': (
        retina(anchor_generator=ANCHORS), retina(12, anchor_generator=ANCHORS)),
    'RetinaNet, BatchNorm in the heads': (
        retina(norm_cfg=dict(type='BN')), retina(12, norm_cfg=dict(type='BN'))),
    'RetinaNet, BatchNorm of each level': tuple(
        retina(width, type='RetinaSepBNHead', num_ins=5, norm_cfg=dict(type='BN'))
        for width in (8, 12)),
    'YOLOF': (yolof(), yolof(12)),
    'RepPoints': (reppoints(), reppoints(12)),
    'RepPoints, other points': (
        reppoints(transform_method='minmax'), reppoints(12, num_points=25)),
}


def model_of(pair, **fields):
    """YOLOF's assigner takes no float64."""
    return in_double(*PAIRS[pair], **fields) if pair == 'YOLOF' else \
        algorithm('FCFDDense', *PAIRS[pair], **fields)


def rows(head, features):
    """For each prior of the batch its class logits and its box, position by position."""
    logits, boxes = [], []
    for level, feature in enumerate(features):
        points = hasattr(head, 'points2bbox')
        if points:
            head.training, before = True, head.training  # of itself alone: which maps it returns
            classes, _, regression = head.forward_single(feature)
            head.training = before
        elif type(head).__name__ == 'YOLOFHead':
            classes, regression = yolof_maps(head, feature)
        else:
            classes, regression = (maps[level] for maps in head(features))
        for n in range(len(feature)):
            for y in range(feature.shape[2]):
                for x in range(feature.shape[3]):
                    for prior in range(classes.shape[1] // 4):
                        logits.append(classes[n, 4 * prior:4 * prior + 4, y, x])
                        boxes.append(box_around(head, regression[n, :, y, x]) / 4 if points else
                                     regression[n, 4 * prior:4 * prior + 4, y, x])
    return torch.stack(logits), torch.stack(boxes)


def yolof_maps(head, feature):
    """The probability of a class is that of an object times that of the class in it."""
    in_boxes = head.bbox_subnet(feature)
    classes, objects = head.cls_score(head.cls_subnet(feature)), head.object_pred(in_boxes)
    p = torch.stack([1 / (1 + (-classes[:, i]).exp()) / (1 + (-objects[:, i // 4]).exp())
                     for i in range(classes.shape[1])], 1)
    return (p / (1 - p)).log(), head.bbox_pred(in_boxes)


def box_around(head, points):
    """The box that a set of points (y1, x1, y2, x2, ..) stands for, in strides."""
    y, x = points[0::2], points[1::2]
    if head.transform_method == 'minmax':
        return torch.stack([x.min(), y.min(), x.max(), y.max()])
    m = head.moment_transfer * .01 + head.moment_transfer.detach() * .99
    half_w, half_h = x.std() * m[0].exp(), y.std() * m[1].exp()
    return torch.stack([x.mean() - half_w, y.mean() - half_h, x.mean() + half_w, y.mean() + half_h])


def reference(model, inputs, threshold):
    """All terms from the equations."""
    f_s, f_t = model.student.extract_feat(inputs), model.teacher.extract_feat(inputs)
    b_st = [bridged(b, f) for b, f in zip(model.bridges['s2t'], f_s)]
    b_ts = [bridged(b, f.detach()) for b, f in zip(model.bridges['t2s'], f_t)]
    student, teacher = model.student.bbox_head, model.teacher.bbox_head
    target, boxes_t = (x.detach() for x in rows(teacher, f_t))
    t = 1 / (1 + (-target).exp())
    confident = [i for i in range(len(t)) if max(t[i]) > threshold]
    losses = dict(loss_app=sum(mse(b, f.detach()) for b, f in zip(b_st, f_t)))
    for name, (logits, boxes) in dict(kd=rows(student, f_s), s2t=rows(teacher, b_st),
                                      t2s=rows(student, b_ts)).items():
        s = 1 / (1 + (-logits).exp())
        cross_entropy = -(t * s.log() + (1 - t) * (1 - s).log())
        losses[f'loss_{name}_cls'] = ((t - s)**2 * cross_entropy).sum() / max(len(confident), 1)
        losses[f'loss_{name}_box'] = sum(((boxes[i] - boxes_t[i])**2).sum() for i in confident) \
            / (4 * max(len(confident), 1)) + 0 * boxes.sum()
    return losses, len(confident) / len(t)


@pytest.mark.parametrize('pair', PAIRS)
def test_losses_and_gradients_are_those_of_the_equations(pair):
    model = model_of(pair)
    data = images()
    inputs = preprocessed(model, copy.deepcopy(data))['inputs']
    logits, _ = rows(model.teacher.bbox_head, model.teacher.extract_feat(inputs))
    half = float(logits.sigmoid().amax(1).median()) + 1e-9  # no score is the threshold itself
    model.loss_func.score_thr = half
    copied = copy.deepcopy(model)
    expected, share = reference(copied, inputs, half)
    assert .4 < share < .6
    assert all(value > 1e-4 for value in expected.values()), expected
    same_gradients(model, copied, losses_of(model, data), expected)


@pytest.mark.parametrize('kind', ['one empty', 'all empty'])
@pytest.mark.parametrize('pair', ['RetinaNet', 'RetinaNet, BatchNorm of each level', 'YOLOF',
                                  'RepPoints'])
def test_images_without_objects(kind, pair):
    model = model_of(pair)
    copied = copy.deepcopy(model)
    data = images(kind)
    expected, _ = reference(copied, preprocessed(model, copy.deepcopy(data))['inputs'], .05)
    same_gradients(model, copied, losses_of(model, data), expected)


@pytest.mark.parametrize('pair', ['RetinaNet', 'YOLOF', 'RepPoints'])
def test_a_teacher_that_is_sure_of_nothing_says_nothing_about_boxes(pair):
    model = model_of(pair, loss_func=dict(type='DenseAnswerLoss', score_thr=.999999))
    copied = copy.deepcopy(model)
    data = images('all empty')
    losses = losses_of(model, copy.deepcopy(data))
    assert all(float(losses[f'loss_{name}_box']) == 0 for name in ('kd', 's2t', 't2s'))
    expected, share = reference(copied, preprocessed(model, data)['inputs'], .999999)
    assert share == 0
    same_gradients(model, copied, losses, expected)


@pytest.mark.parametrize('pair', ['RetinaNet', 'RepPoints'])
def test_a_student_equal_to_its_teacher_pays_nothing_for_outputs(pair):
    student = PAIRS[pair][0]
    model = algorithm('FCFDDense', student, student, teacher_fuse_bn=False,
                      loss_func=dict(type='DenseAnswerLoss', score_thr=.3))
    model.teacher.load_state_dict(model.student.state_dict())
    model.student.backbone.eval()
    losses = losses_of(model)
    assert float(losses['loss_kd_cls']) == pytest.approx(0, abs=1e-20)
    assert float(losses['loss_kd_box']) == pytest.approx(0, abs=1e-20)
    assert losses['loss_app'] > 0


@pytest.mark.parametrize('pair', ['RetinaNet', 'YOLOF', 'RepPoints'])
def test_the_teacher_is_never_changed(pair):
    model = model_of(pair)
    before = {k: v.clone() for k, v in model.teacher.state_dict().items()}
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-4))
    for _ in range(2):
        losses, _ = model.parse_losses(model(**preprocessed(model, images()), mode='loss'))
        optimizer.update_params(losses)
    assert all(torch.equal(v, before[k]) for k, v in model.teacher.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in model.teacher.parameters())
    assert not any(m.training for m in model.teacher.modules())


@pytest.mark.parametrize('pair', ['RetinaNet, BatchNorm in the heads', 'RepPoints'])
def test_the_students_statistics_and_losses_are_those_of_a_student_alone(pair):
    model = algorithm('FCFDDense', *PAIRS[pair])
    alone = copy.deepcopy(model.student)
    data = preprocessed(model, images())
    own, losses = alone(**copy.deepcopy(data), mode='loss'), model(**data, mode='loss')
    for key, values in own.items():
        assert all(map(torch.equal, values, losses[f'student.{key}']))
    for key, value in model.student.state_dict().items():
        assert torch.equal(value, alone.state_dict()[key]), key


@pytest.mark.parametrize('pair', ['RetinaNet', 'RepPoints'])
def test_multiply_adds_of_the_extra_work(pair):
    model = algorithm('FCFDDense', *PAIRS[pair])
    data = preprocessed(model, images())
    f_s, f_t = (net.extract_feat(data['inputs']) for net in (model.student, model.teacher))
    total = flops_of(lambda: model(**copy.deepcopy(data), mode='loss'))
    student = flops_of(lambda: model.student(**copy.deepcopy(data), mode='loss'))
    features = flops_of(lambda: model.teacher.extract_feat(data['inputs']))
    teachers = flops_of(lambda: model.teacher.bbox_head(f_t))
    students = flops_of(lambda: model.student.bbox_head(f_s))
    bridges = flops_of(lambda: [b(f) for path, maps in (('s2t', f_s), ('t2s', f_t))
                                for b, f in zip(model.bridges[path], maps)])
    assert total - student - features == 2 * teachers + students + bridges


def five_levels(**fields):
    return dict(ANCHORS, **fields)


WRONG = {
    'kinds': (retina(), reppoints(), 'kind of .* is RetinaHead, .* RepPointsHead'),
    'other head': (retina(), retina() | dict(bbox_head=dict(
        type='CenterNetHead', in_channels=8, feat_channels=8, num_classes=4)),
        "teacher's bbox_head is CenterNetHead; expected one of ATSSHead, FCOSHead"),
    'classes': (retina(), retina(num_classes=7), 'num_classes of .* is 4, .* 7'),
    'classes of points': (reppoints(), reppoints(num_points=25) | dict(
        bbox_head=dict(reppoints()['bbox_head'], num_classes=7)),
        'num_classes of .* is 4, .* 7'),
    'softmax': (retina(), retina(loss_cls=dict(type='CrossEntropyLoss')),
                "teacher's RetinaHead classifies with softmax"),
    'ratios': (retina(anchor_generator=ANCHORS),
               retina(anchor_generator=five_levels(ratios=[1., .5])),
               r'ratios of .* is \[1.0, 2.0\], .* \[1.0, 0.5\]'),
    'scales': (retina(anchor_generator=ANCHORS),
               retina(anchor_generator=five_levels(scales_per_octave=1)), 'scales of .* agree'),
    'coder': (retina(), retina(bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[.1] * 4)),
              r'bbox_coder of .* \(1.0, 1.0, 1.0, 1.0\)\), .* \(0.1, 0.1, 0.1, 0.1\)'),
    'scale of points': (reppoints(), reppoints(point_base_scale=8), 'point_base_scale.* 4, .* 8'),
    'stride': (retina(), retina(anchor_generator=five_levels(strides=[4, 8, 16, 32, 64])),
               r'strides of .* is \[\(8, 8\), .* \[\(4, 4\)'),
    'two-stage teacher': (retina(), rcnn(), "teacher: FasterRCNN has no 'bbox_head'"),
}


@pytest.mark.parametrize('case', WRONG)
def test_what_does_not_fit_is_an_error_when_the_model_is_built(case):
    student, teacher, message = copy.deepcopy(WRONG[case])
    with pytest.raises(ConfigError, match=message) as error:
        algorithm('FCFDDense', student, teacher)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('what', ['levels', 'sizes'])
def test_maps_that_do_not_line_up_are_an_error(what):
    teacher = retina()
    if what == 'levels':
        teacher['neck']['num_outs'] = 4
        message = 'student gives 5 levels .* teacher gives 4 levels'
    else:
        teacher['backbone']['strides'] = (1, 2, 2, 1)
        message = r'levels of \(16, 16\).*, \(1, 1\).* and the teacher gives'
    with pytest.raises(ConfigError, match=message):
        algorithm('FCFDDense', retina(), teacher)


def test_mixed_precision():
    model = algorithm('FCFDDense', *PAIRS['RetinaNet']).float()
    with torch.autocast('cpu', torch.bfloat16):
        losses = model(**model.data_preprocessor(images(), True), mode='loss')
    added = {k: v for k, v in losses.items() if k.startswith('fcfd.')}
    assert all(v.dtype == torch.float and torch.isfinite(v) for v in added.values())
    sum(added.values()).backward()
    assert all(p.grad is not None for p in model.bridges.parameters())


def test_an_infinity_where_the_teacher_is_not_confident_does_not_count():
    """Not in the loss, and not as a NaN in the gradient."""
    torch.manual_seed(0)
    logits, boxes = torch.randn(1, 2, 1, 2).double(), torch.randn(1, 4, 1, 2).double()
    target_logits = torch.tensor([[[[4., -9.]], [[-9., -9.]]]]).double()  # the second says nothing
    target_boxes = torch.randn(1, 4, 1, 2).double()
    both = [DenseOutputs([logits], [boxes]), DenseOutputs([target_logits], [target_boxes])]
    expected = DenseAnswerLoss()(*both)['box']
    for side in (boxes, target_boxes):
        side[0, 1, 0, 1] = math.inf
    boxes.requires_grad_()
    box = DenseAnswerLoss()(*both)['box']
    assert box == expected
    box.backward()
    assert boxes.grad.isfinite().all() and boxes.grad[..., 0].abs().min() > 0
