"""FCFD for two-stage detectors against its equations, on small real detectors."""
import copy

import pytest
import torch
from mmdet.structures.mask import BitmapMasks
from mmengine.optim import OptimWrapper

from mmdistill_ext.analysis.measure import flops_of
from mmdistill_ext.errors import ConfigError
from tests.models.fcfd.heads import (
    algorithm,
    bridged,
    cascade,
    kl_rows,
    mask_rcnn,
    mse,
    preprocessed,
    rcnn,
    retina,
    same_gradients,
)
from tests.small import batch, build

CONV_HEAD = dict(type='ConvFCBBoxHead', num_shared_convs=1, num_shared_fcs=1, conv_out_channels=8,
                 norm_cfg=dict(type='BN'))
PAIRS = {
    'faster': (rcnn(), rcnn(12)),
    'same width': (rcnn(), rcnn()),
    'class-agnostic': (rcnn(reg_class_agnostic=True), rcnn(12, reg_class_agnostic=True)),
    'mask student': (mask_rcnn(), rcnn(12)),
    'mask both': (mask_rcnn(), mask_rcnn(12)),
    'cascade teacher': (rcnn(reg_class_agnostic=True), cascade(12)),
    'BatchNorm in the heads': (rcnn(**CONV_HEAD), rcnn(12, **CONV_HEAD)),
}


def images(kind='two sizes'):
    """A batch of two images: of one size, of two, or one or both without objects."""
    data = batch('det')
    if kind == 'two sizes':
        data['inputs'][1] = data['inputs'][1][:, :50, :40]
        data['data_samples'][1].set_metainfo(dict(img_shape=(50, 40), ori_shape=(50, 40)))
        data['data_samples'][1].gt_instances.bboxes = torch.tensor([[4., 4., 30., 30.],
                                                                    [2., 10., 36., 48.]])
    for sample in data['data_samples'][1 if kind == 'one empty' else 0:]:
        if 'empty' in kind:
            sample.gt_instances = sample.gt_instances[:0]
    for sample in data['data_samples']:
        boxes = sample.gt_instances.bboxes
        masks = torch.zeros(len(boxes), 64, 64, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.long()):
            mask[y1:y2, x1:x2] = 1
        sample.gt_instances.masks = BitmapMasks(masks.numpy(), 64, 64)
    return data


def losses_of(model, data):
    """What FCFD adds, and the rois of the student's own box loss as that loss saw them."""
    box_head, seen = model.student.roi_head.bbox_head, []
    original = box_head.loss_and_target

    def spy(**kwargs):
        seen.append(kwargs['rois'].clone())
        return original(**kwargs)

    box_head.loss_and_target = spy
    try:
        losses = model(**preprocessed(model, data), mode='loss')
    finally:
        del box_head.loss_and_target
    assert len(seen) == 1
    return {k[5:]: v for k, v in losses.items() if k.startswith('fcfd.')}, seen[0]


def roi_head(model, features, rois):
    """Class logits and deltas in the plainest way: extract, then classify."""
    head, last = model.roi_head, (lambda x: x[-1] if isinstance(x, torch.nn.ModuleList) else x)
    return last(head.bbox_head)(last(head.bbox_roi_extractor)(features[:4], rois))


def reference(model, inputs, rois):
    """All terms from the equations."""
    f_s, f_t = model.student.extract_feat(inputs), model.teacher.extract_feat(inputs)
    to_t, to_s = model.bridges['s2t'], model.bridges['t2s']
    b_st = [bridged(b, f) for b, f in zip(to_t, f_s)]
    b_ts = [bridged(b, f.detach()) for b, f in zip(to_s, f_t)]

    def teachers(features):
        logits, deltas = roi_head(model.teacher, features, rois)
        if hasattr(model.teacher.roi_head, 'num_stages'):  # see cascade()
            scale, shift = torch.tensor([.5, .5, .5, .5]), torch.tensor([0., 1., 0., 0.])
            deltas = deltas * scale.double() + shift.double()
        return logits, deltas

    target = [x.detach() for x in teachers(f_t)]
    outputs = dict(kd=roi_head(model.student, f_s, rois), s2t=teachers(b_st),
                   t2s=roi_head(model.student, b_ts, rois))
    losses = dict(loss_app=sum(mse(b, f.detach()) for b, f in zip(b_st, f_t)))
    for name, (logits, deltas) in outputs.items():
        losses[f'loss_{name}_cls'] = kl_rows(logits, target[0])
        losses[f'loss_{name}_box'] = mse(deltas, target[1])
    return losses


@pytest.mark.parametrize('pair', PAIRS)
def test_losses_and_gradients_are_those_of_the_equations(pair):
    model = algorithm('FCFDRoI', *PAIRS[pair])
    copied = copy.deepcopy(model)
    data = images()
    losses, rois = losses_of(model, copy.deepcopy(data))
    assert len(rois) == 16 and set(rois[:, 0].tolist()) == {0, 1}
    expected = reference(copied, preprocessed(model, data)['inputs'], rois)
    assert all(value > 1e-4 for value in expected.values()), expected
    same_gradients(model, copied, losses, expected)


@pytest.mark.parametrize('kind', ['one empty', 'all empty'])
@pytest.mark.parametrize('pair', ['faster', 'mask student'])
def test_images_without_objects_and_no_positive_sample(kind, pair):
    model = algorithm('FCFDRoI', *PAIRS[pair])
    copied = copy.deepcopy(model)
    data = images(kind)
    losses, rois = losses_of(model, copy.deepcopy(data))
    expected = reference(copied, preprocessed(model, data)['inputs'], rois)
    same_gradients(model, copied, losses, expected)


def test_no_proposal_at_all_costs_nothing_and_still_reaches_every_parameter():
    student, teacher = PAIRS['faster']
    for part in ('rpn_proposal', 'rcnn'):
        assert part in student['train_cfg']
    student = copy.deepcopy(student)
    student['train_cfg']['rpn_proposal']['min_bbox_size'] = 10**6
    model = algorithm('FCFDRoI', student, teacher)
    losses, rois = losses_of(model, images('all empty'))
    assert len(rois) == 0
    assert losses.pop('loss_app') > 0
    assert {float(value) for value in losses.values()} == {0.}
    sum(losses.values()).backward()
    head = {n for n, p in model.student.roi_head.named_parameters() if p.grad is not None}
    assert head == {n for n, _ in model.student.roi_head.named_parameters()}
    assert all(p.grad is not None for p in model.bridges['t2s'].parameters())


def test_a_student_equal_to_its_teacher_pays_nothing_for_outputs():
    model = algorithm('FCFDRoI', rcnn(), rcnn(), teacher_fuse_bn=False).eval()
    model.teacher.load_state_dict(model.student.state_dict())
    losses, _ = losses_of(model, images())
    assert float(losses['loss_kd_cls']) == pytest.approx(0, abs=1e-12)
    assert float(losses['loss_kd_box']) == 0
    assert losses['loss_app'] > 0  # the bridges are not the identity


def stepped(model, data, steps=2):
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=.01))
    for _ in range(steps):
        losses, _ = model.parse_losses(model(**preprocessed(model, copy.deepcopy(data)),
                                             mode='loss'))
        optimizer.update_params(losses)


def test_the_teacher_is_never_changed():
    model = algorithm('FCFDRoI', *PAIRS['BatchNorm in the heads'])
    before = {k: v.clone() for k, v in model.teacher.state_dict().items()}
    stepped(model, images())
    assert all(torch.equal(v, before[k]) for k, v in model.teacher.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in model.teacher.parameters())
    assert not any(m.training for m in model.teacher.modules())


@pytest.mark.parametrize('norm_eval', [True, False])
def test_the_students_statistics_and_losses_are_those_of_a_student_alone(norm_eval):
    model = algorithm('FCFDRoI', *PAIRS['BatchNorm in the heads'], teacher_norm_eval=norm_eval)
    alone = copy.deepcopy(model.student)
    data = preprocessed(model, images())
    torch.manual_seed(5)
    own = alone(**copy.deepcopy(data), mode='loss')
    torch.manual_seed(5)
    losses = model(**data, mode='loss')
    for key, value in own.items():
        for a, b in zip(*(v if isinstance(v, list) else [v]
                          for v in (value, losses[f'student.{key}']))):
            assert torch.equal(a, b)
    for key, value in model.student.state_dict().items():
        assert torch.equal(value, alone.state_dict()[key]), key
    stats = {k: v for k, v in model.path_stats.state_dict().items() if 'tracked' in k}
    assert {k[:3] for k in stats} == ({'t2s'} if norm_eval else {'t2s', 's2t'})
    assert all(v == 1 for v in stats.values())


def test_rois_are_not_looked_for_twice_and_the_teacher_stops_after_its_neck():
    model = algorithm('FCFDRoI', *PAIRS['faster'])
    runs = []
    for side in ('student', 'teacher'):
        for name in ('backbone', 'neck', 'rpn_head', 'roi_head.bbox_roi_extractor',
                     'roi_head.bbox_head'):
            getattr(model, side).get_submodule(name).register_forward_pre_hook(
                lambda *_, name=f'{side}.{name}': runs.append(name))
    losses_of(model, images())
    counts = {name: runs.count(name) for name in runs}
    assert counts == {
        'student.backbone': 1, 'student.neck': 1, 'student.rpn_head': 1,
        'student.roi_head.bbox_roi_extractor': 2, 'student.roi_head.bbox_head': 2,
        'teacher.backbone': 1, 'teacher.neck': 1,
        'teacher.roi_head.bbox_roi_extractor': 2, 'teacher.roi_head.bbox_head': 2}


def test_the_hard_example_sampler_runs_the_head_too_and_does_not_confuse():
    student, teacher = copy.deepcopy(PAIRS['faster'])
    student['train_cfg']['rcnn']['sampler']['type'] = 'OHEMSampler'
    model = algorithm('FCFDRoI', student, teacher)
    copied, data = copy.deepcopy(model), images()
    losses, rois = losses_of(model, copy.deepcopy(data))
    expected = reference(copied, preprocessed(model, data)['inputs'], rois)
    same_gradients(model, copied, losses, expected)


@pytest.mark.parametrize('pair', ['faster', 'cascade teacher', 'mask both'])
def test_multiply_adds_of_the_extra_work(pair):
    model = algorithm('FCFDRoI', *PAIRS[pair])
    data = preprocessed(model, images())
    assert len(losses_of(model, images())[1]) == 16
    total = flops_of(lambda: model(**copy.deepcopy(data), mode='loss'))
    rois = torch.zeros(16, 5).double()
    rois[:, 3:] = 40.
    f_s, f_t = (net.extract_feat(data['inputs']) for net in (model.student, model.teacher))
    student = flops_of(lambda: model.student(**copy.deepcopy(data), mode='loss'))
    features = flops_of(lambda: model.teacher.extract_feat(data['inputs']))
    teachers = flops_of(lambda: roi_head(model.teacher, f_t, rois))
    students = flops_of(lambda: roi_head(model.student, f_s, rois))
    bridges = flops_of(lambda: [b(f) for path, maps in (('s2t', f_s), ('t2s', f_t))
                                for b, f in zip(model.bridges[path], maps)])
    assert min(teachers, students, bridges) > 0
    assert total - student - features == 2 * teachers + students + bridges


def changed(config, **fields):
    """A config with some of its fields replaced, by dotted names."""
    config = copy.deepcopy(config)
    for name, value in fields.items():
        *path, last = name.split('__')
        inner = config
        for key in path:
            inner = inner[key]
        inner[last] = value
    return config


def crowd(channels=8):
    """CrowdDet: two instances for each proposal."""
    config = rcnn(channels)
    config['roi_head'].update(type='MultiInstanceRoIHead')
    config['roi_head']['bbox_head'] = dict(
        type='MultiInstanceBBoxHead', in_channels=channels, fc_out_channels=8, roi_feat_size=3,
        num_classes=4, bbox_coder=dict(type='DeltaXYWHBBoxCoder'))
    return config


SEESAW = rcnn(loss_cls=dict(type='SeesawLoss', num_classes=4))
WRONG = {
    'two instances': (crowd(), crowd(12), 'FCFDRoI, student: MultiInstanceBBoxHead gives the class '
                                          'logits of 2 instances'),
    'two instances in the teacher': (rcnn(), crowd(12), 'teacher: MultiInstanceBBoxHead gives'),
    'two softmaxes': (SEESAW, SEESAW, 'FCFDRoI, student: Shared2FCBBoxHead with SeesawLoss does '
                                      'not turn'),
    'two softmaxes in the teacher': (rcnn(), SEESAW, 'teacher: Shared2FCBBoxHead with SeesawLoss'),
    'no boxes': (rcnn(with_reg=False), rcnn(), "student's StandardRoIHead has a Shared2FCBBoxHead "
                 'without box deltas; expected with_cls=True and with_reg=True'),
    'classes': (rcnn(), rcnn(num_classes=7), 'num_classes of .* is 4, .* 7'),
    'boxes': (rcnn(), rcnn(reg_class_agnostic=True), 'reg_class_agnostic.* is False, .* True'),
    'cascade': (rcnn(), cascade(), 'reg_class_agnostic.* is False, .* True'),
    'coder': (rcnn(), rcnn(bbox_coder=dict(type='LegacyDeltaXYWHBBoxCoder')),
              'bbox_coder.* is DeltaXYWHBBoxCoder, .* LegacyDeltaXYWHBBoxCoder'),
    'levels': (rcnn(), changed(rcnn(), neck__num_outs=6),
               'student gives 5 levels .* teacher gives 6 levels'),
    'strides of the extractor': (
        rcnn(), changed(rcnn(), roi_head__bbox_roi_extractor__featmap_strides=[4, 8, 16]),
        r'featmap_strides of .* is \[4, 8, 16, 32\], .* \[4, 8, 16\]'),
    'strides of the backbone': (
        rcnn(), changed(rcnn(), backbone__strides=(1, 2, 2, 1)),
        r'levels of \(32, 32\).* and the teacher gives 5 levels of .*; number and strides'),
    'sigmoid': (*[rcnn(loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True))] * 2,
                'classifies with sigmoid'),
    'one-stage teacher': (rcnn(), retina(), "teacher: RetinaNet has no 'roi_head'"),
    'one-stage student': (retina(), rcnn(), "student: RetinaNet has no 'roi_head'"),
    'cascade student': (cascade(), cascade(), "student's CascadeRoIHead takes stage, x, rois"),
}


@pytest.mark.parametrize('case', WRONG)
def test_what_does_not_fit_is_an_error_when_the_model_is_built(case):
    student, teacher, message = WRONG[case]
    with pytest.raises(ConfigError, match=message) as error:
        algorithm('FCFDRoI', student, teacher)
    assert '\n' not in str(error.value)


def test_a_student_that_sees_its_images_several_times_in_training_is_an_error():
    """As TridentNet does."""
    model = algorithm('FCFDRoI', rcnn(), rcnn())
    maps = {n: [torch.zeros(n, 8, 4, 4, dtype=torch.double)] * 5 for n in (2, 6)}
    student = dict(features=[maps[6]], inputs=[(maps[6], torch.zeros(1, 5))],
                   outputs=[(torch.zeros(1, 5), torch.zeros(1, 16))])
    with pytest.raises(ConfigError, match='gives 6 maps in training and the teacher 2 in eval'):
        model.fcfd_losses(student, dict(features=[maps[2]]))


def test_strides_and_scales_of_boxes_as_a_tuple_in_one_config_and_a_list_in_the_other():
    coder = dict(type='DeltaXYWHBBoxCoder', target_means=(0., 0., 0., 0.),
                 target_stds=(.1, .1, .2, .2))
    teacher = changed(rcnn(), roi_head__bbox_roi_extractor__featmap_strides=(4, 8, 16, 32),
                      roi_head__bbox_head__bbox_coder=coder)
    model = algorithm('FCFDRoI', rcnn(), teacher)
    outputs = torch.randn(3, 5).double(), torch.randn(3, 16).double()
    assert model.head('teacher').rescaled(outputs, model.head('student')) is outputs


def test_inheriting():
    torch.manual_seed(0)
    teacher = build(rcnn())
    model = build(dict(_scope_='mmrazor', type='FCFDRoI', architecture=rcnn(), teacher=teacher,
                       inherit=['neck', 'rpn_head', 'roi_head'], teacher_fuse_bn=False))
    model.init_weights()
    theirs = teacher.state_dict()
    same = {key for key, value in model.student.state_dict().items()
            if torch.equal(value, theirs[key])}
    weights = {key for key in theirs if key.endswith('weight') and theirs[key].ndim > 1}
    assert {key for key in theirs if key.startswith(('neck', 'rpn_head', 'roi_head'))} <= same
    assert not any(key.startswith('backbone') for key in same & weights)


def test_half_precision_teacher_keeps_its_head_in_full():
    model = algorithm('FCFDRoI', *PAIRS['faster'], teacher_dtype='bf16').float()
    model.teacher.backbone.bfloat16(), model.teacher.neck.bfloat16()
    data = model.data_preprocessor(images(), True)
    losses = model(**data, mode='loss')
    assert all(torch.isfinite(v).all() for k, v in losses.items() if k.startswith('fcfd.'))
    assert next(model.teacher.roi_head.parameters()).dtype == torch.float
