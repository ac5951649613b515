"""Small detectors and segmentors for FCFD, and what its equations have in common."""
import copy
from functools import partial

import torch
from torch.nn import functional as F

from tests.small import DET, SEG, batch, build, model_config

RCNN = dict(
    _scope_='mmdet',
    type='FasterRCNN',
    data_preprocessor=DET['data_preprocessor'],
    backbone=DET['backbone'],
    neck=dict(type='FPN', in_channels=[8, 16, 32, 64], out_channels=8, num_outs=5),
    rpn_head=dict(type='RPNHead', in_channels=8, feat_channels=8,
                  anchor_generator=dict(type='AnchorGenerator', scales=[4], ratios=[1., 2.],
                                        strides=[4, 8, 16, 32, 64]),
                  bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
                  loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
                  loss_bbox=dict(type='L1Loss')),
    roi_head=dict(
        type='StandardRoIHead',
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=3, sampling_ratio=2), out_channels=8,
            featmap_strides=[4, 8, 16, 32], finest_scale=8),
        bbox_head=dict(type='Shared2FCBBoxHead', in_channels=8, fc_out_channels=8, roi_feat_size=3,
                       num_classes=4,
                       bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[.1, .1, .2, .2]))),
    train_cfg=dict(
        rpn=dict(assigner=dict(type='MaxIoUAssigner', pos_iou_thr=.7, neg_iou_thr=.3,
                               min_pos_iou=.3),
                 sampler=dict(type='RandomSampler', num=16, pos_fraction=.5,
                              add_gt_as_proposals=False),
                 allowed_border=-1, pos_weight=-1),
        rpn_proposal=dict(nms_pre=50, max_per_img=20, nms=dict(type='nms', iou_threshold=.7),
                          min_bbox_size=0),
        rcnn=dict(assigner=dict(type='MaxIoUAssigner', pos_iou_thr=.5, neg_iou_thr=.5,
                                min_pos_iou=.5),
                  sampler=dict(type='RandomSampler', num=8, pos_fraction=.25,
                               add_gt_as_proposals=True),
                  mask_size=6, pos_weight=-1)),
    test_cfg=dict(rpn=dict(nms_pre=50, max_per_img=20, nms=dict(type='nms', iou_threshold=.7),
                           min_bbox_size=0),
                  rcnn=dict(score_thr=.05, nms=dict(type='nms', iou_threshold=.5), max_per_img=10)))


def rcnn(channels=8, **box_head):
    """A Faster R-CNN whose FPN and head are ``channels`` wide."""
    config = copy.deepcopy(RCNN)
    config['neck']['out_channels'] = channels
    config['rpn_head'].update(in_channels=channels)
    config['roi_head']['bbox_roi_extractor']['out_channels'] = channels
    config['roi_head']['bbox_head'].update(in_channels=channels, **box_head)
    return config


def mask_rcnn(channels=8):
    config = rcnn(channels)
    config['type'] = 'MaskRCNN'
    extractor = copy.deepcopy(config['roi_head']['bbox_roi_extractor'])
    config['roi_head'].update(
        mask_roi_extractor=extractor,
        mask_head=dict(type='FCNMaskHead', num_convs=1, in_channels=channels, conv_out_channels=8,
                       roi_feat_size=3, num_classes=4,
                       loss_mask=dict(type='CrossEntropyLoss', use_mask=True)))
    return config


def cascade(channels=8, stages=2, **box_head):
    """A Cascade R-CNN; its last stage has a box coder with a scale of its own."""
    config = rcnn(channels, reg_class_agnostic=True, **box_head)
    config['type'] = 'CascadeRCNN'
    heads = [copy.deepcopy(config['roi_head']['bbox_head']) for _ in range(stages)]
    heads[-1]['bbox_coder'] = dict(type='DeltaXYWHBBoxCoder', target_means=[0., .1, 0., 0.],
                                   target_stds=[.05, .05, .1, .1])
    config['roi_head'].update(type='CascadeRoIHead', num_stages=stages, bbox_head=heads,
                              stage_loss_weights=[1] * stages)
    config['train_cfg']['rcnn'] = [config['train_cfg']['rcnn']] * stages
    return config


def retina(channels=8, **head):
    config = model_config('det')
    config['neck']['out_channels'] = channels
    config['bbox_head'].update(in_channels=channels, feat_channels=8, **head)
    return config


def yolof(channels=8, **head):
    """Two anchors at each place of one level."""
    config = retina(channels)
    config.update(type='YOLOF', neck=dict(
        type='DilatedEncoder', in_channels=64, out_channels=channels, block_mid_channels=4,
        num_residual_blocks=1, block_dilations=[1]))
    config['backbone']['out_indices'] = (3, )
    config['bbox_head'] = dict(
        type='YOLOFHead', num_classes=4, in_channels=channels, num_cls_convs=1, num_reg_convs=1,
        norm_cfg=dict(type='BN'), reg_decoded_bbox=True, loss_bbox=dict(type='GIoULoss'),
        anchor_generator=dict(type='AnchorGenerator', ratios=[1.], scales=[1, 2], strides=[32]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', add_ctr_clamp=True, ctr_clamp=32),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True), **head)
    config['train_cfg'] = dict(
        assigner=dict(type='UniformAssigner', pos_ignore_thr=.15, neg_ignore_thr=.7),
        allowed_border=-1, pos_weight=-1)
    return config


def reppoints(channels=8, **head):
    config = retina(channels)
    config['type'] = 'RepPointsDetector'
    norm = dict(type='GN', num_groups=2)
    config['bbox_head'] = dict(
        type='RepPointsHead', num_classes=4, in_channels=channels, feat_channels=8,
        point_feat_channels=8, stacked_convs=1, norm_cfg=norm, **head)
    sample = dict(allowed_border=-1, pos_weight=-1)
    config['train_cfg'] = dict(
        init=dict(assigner=dict(type='PointAssigner', scale=4, pos_num=1), **sample),
        refine=dict(assigner=config['train_cfg']['assigner'], **sample))
    return config


def segmentor(width=8, head='PSPHead', **fields):
    config = copy.deepcopy(SEG)
    config['backbone'].update(base_channels=width, stem_channels=width)
    config['decode_head'].update(type=head, in_channels=width * 8, channels=8, **fields)
    if head == 'PSPHead':
        config['decode_head']['pool_scales'] = (1, 2)
    else:
        config['decode_head']['dilations'] = (1, 2)
    return config


def algorithm(kind, student, teacher, seed=0, **fields):
    """The FCFD model, in float64, with weights that make the outputs of heads differ."""
    torch.manual_seed(seed)
    model = build(dict(_scope_='mmrazor', type=kind, architecture=student, teacher=teacher,
                       random_teacher=True, **fields))
    model = livelier(model).double().train()
    if hasattr(model.student, 'rpn_head'):
        proposals_in_float(model.student.rpn_head)
    if hasattr(getattr(model.student, 'bbox_head', None), 'points2bbox'):
        priors = model.student.bbox_head.prior_generator  # targets in the dtype of predictions
        priors.grid_priors = partial(priors.grid_priors, dtype=torch.double)
    return model


def in_double(student, teacher, **fields):
    """The algorithm in float64, but for the student's own loss: mmdet's targets are in float32."""
    model = algorithm('FCFDDense', student, teacher, **fields)
    head = model.student.bbox_head
    original = head.loss_by_feat

    def loss_by_feat(*args, **kwargs):
        args = [[x.to(torch.float32) for x in arg]
                if isinstance(arg, (list, tuple)) and isinstance(arg[0], torch.Tensor) else arg
                for arg in args]
        return original(*args, **kwargs)

    head.loss_by_feat = loss_by_feat
    return model


def proposals_in_float(rpn):
    """mmcv's NMS takes no float64 on the CPU."""
    original = rpn.predict_by_feat
    rpn.predict_by_feat = lambda *maps, **kwargs: original(
        *([x.float() for x in levels] for levels in maps), **kwargs)


def livelier(model):
    """Random weights and statistics, so that no term is zero or the same for all inputs."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1:
                fan_in = value[0].numel()
                value.copy_(torch.randn(value.shape, generator=generator) * (.5 / fan_in)**.5)
            elif value.numel() > 1:
                value.copy_(torch.rand(value.shape, generator=generator) + .5
                            if 'weight' in name else
                            torch.randn(value.shape, generator=generator) * .3)
        for name, value in model.named_buffers():
            if name.endswith('running_mean'):
                value.copy_(torch.randn(value.shape, generator=generator) * .2)
            if name.endswith('running_var'):
                value.copy_(torch.rand(value.shape, generator=generator) + .5)
    return model


def preprocessed(model, data):
    data = model.data_preprocessor(data, True)
    if hasattr(getattr(model.student, 'bbox_head', None), 'points2bbox'):
        for sample in data['data_samples']:
            sample.gt_instances.bboxes = sample.gt_instances.bboxes.double()
    return dict(data, inputs=data['inputs'].double())


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
    return data


def losses_of(model, data=None):
    """What FCFD adds to a detector's losses."""
    losses = model(**preprocessed(model, data or images()), mode='loss')
    return {k[5:]: v for k, v in losses.items() if k.startswith('fcfd.')}


# The equations.

def bridged(bridge, x, leaky=False):
    """One 3x3 convolution without bias, BatchNorm by the batch, LeakyReLU(0.1) if ``leaky``."""
    y = F.conv2d(x, bridge.conv.weight, padding=1)
    mean = y.mean((0, 2, 3), keepdim=True)
    var = ((y - mean)**2).mean((0, 2, 3), keepdim=True)
    weight, bias = (p.view(1, -1, 1, 1) for p in (bridge.bn.weight, bridge.bn.bias))
    y = (y - mean) / (var + 1e-5).sqrt() * weight + bias
    return torch.where(y >= 0, y, .1 * y) if leaky else y


def mse(a, b):
    return ((a - b)**2).sum() / a.numel()


def kl_rows(student, teacher):
    """``sum_c p_t log(p_t / p_s)``, mean over the rows ``[R, classes]``."""
    total = 0
    for s, t in zip(student, teacher):
        p_s, p_t = s.exp() / s.exp().sum(), t.exp() / t.exp().sum()
        total = total + (p_t * (p_t / p_s).log()).sum()
    return total / len(student)


def same_gradients(model, reference, losses, expected):
    """Losses, and gradients of student and bridges, equal those of the reference's copy.

    Args:
        model: The algorithm, that gave ``losses`` (of FCFD, by name).
        reference: A copy of it from before, that ``expected`` was computed with.
    """
    assert sorted(losses) == sorted(expected)
    for name in losses:
        torch.testing.assert_close(losses[name], expected[name], rtol=1e-9, atol=1e-12,
                                   msg=lambda m, n=name: f'{n}: {m}')
    for total in (losses, expected):
        sum(total.values()).backward()
    compared = 0
    for (name, ours), theirs in zip(model.named_parameters(), reference.parameters()):
        if name.startswith('teacher.'):
            assert ours.grad is None
        elif theirs.grad is None:
            assert ours.grad is None or not ours.grad.any(), name
        else:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-10,
                                       msg=lambda m, n=name: f'{n}: {m}')
            compared += bool(theirs.grad.any())
    assert compared > 20
