"""FCFD's R101 -> R50 detection recipe from the FPN on, as the authors' code has it.

The pyramids and the proposals are given: what makes them is not FCFD. The rest is the recipe.
"""
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from mmrazor.registry import MODELS

from tests.configs.tiny import load

from .formula import DATA, TENSORS, fill, tensor_of, unequal_numbers

RECIPE = 'fcfd/det/fcfd_neck_faster-rcnn_r101_faster-rcnn_r50_1xb8-amp-1x_coco.py'
TASK_RTOL = 1e-7  # theirs is Detectron2's, ours mmdet's; their targets are in float32
TASK = dict(loss_cls='student.loss_cls', loss_box_reg='student.loss_bbox')
PARTS = {'0': 'conv', '1': 'bn'}  # of a bridge, theirs -> ours
pytestmark = pytest.mark.train


def pyramid(side, size):
    """P2 to P6 of two images."""
    maps = []
    for level in range(2, 7):
        shape = (2, 256, size[0] // 2**level, size[1] // 2**level)
        scale = (np.prod(shape[1:]) / 2)**0.5  # to variance 1
        maps.append(tensor_of(f'det.{side}.p{level}', shape).double() * scale)
    return maps


def samples(oracle, size):
    for image in range(2):
        sample = DetDataSample(metainfo=dict(
            img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size,
            scale_factor=(1., 1.)))
        sample.gt_instances = InstanceData(
            bboxes=torch.from_numpy(oracle[f'gt_boxes/{image}']).double(),
            labels=torch.from_numpy(oracle[f'gt_labels/{image}']))
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4).double(), labels=torch.zeros(0).long())
        yield sample


def proposals(oracle):
    for image in range(2):
        boxes = torch.from_numpy(oracle[f'proposals/{image}']).double()
        yield InstanceData(bboxes=boxes, scores=torch.ones(len(boxes)).double(),
                           labels=torch.zeros(len(boxes)).long())


def test_terms_and_gradients():
    oracle = dict(np.load(DATA / 'fcfd_det_roi.npz'))
    model = dict(load(RECIPE).model, random_teacher=True)
    model.pop('teacher_ckpt')
    model = MODELS.build(model).double().train()
    size = tuple(oracle['size'].tolist())
    maps = {}
    for side in ('student', 'teacher'):
        net = getattr(model, side)
        maps[side] = pyramid(side, size)
        head = net.roi_head.bbox_head
        fill(head, lambda name, side=side: f'det.{side}.{name}')
        with torch.no_grad():
            for value in head.fc_reg.parameters():
                value.mul_(0.3)
        net.backbone.forward = lambda images: images
        net.neck.forward = lambda features, side=side: tuple(maps[side])
    model.teacher.requires_grad_()
    for level in (*maps['student'], *maps['teacher']):  # of the teacher's a gradient would be seen
        level.requires_grad_()
    model.student.rpn_head.loss_and_predict = lambda *_, **__: ({}, list(proposals(oracle)))
    for direction, bridges in model.bridges.items():
        for level, bridge in enumerate(bridges):
            fill(bridge, lambda part, at=f'{direction}.{level}': f'det.bridge.{at}.{part}')

    found = model(torch.zeros(2, 3, *size).double(), list(samples(oracle, size)), mode='loss')
    terms = {key[5:]: value for key, value in found.items() if key.startswith('fcfd.')}
    sum(terms.values()).backward()

    expected = {kind: {key[len(kind) + 1:]: float(value) for key, value in oracle.items()
                       if key.startswith(f'{kind}/')} for kind in ('term', 'task', 'grad')}
    gradients = {f'p{level}': value.grad for level, value in enumerate(maps['student'], start=2)}
    gradients.update((key, value.grad) for key, value
                     in model.student.roi_head.bbox_head.named_parameters())
    for key in expected['grad']:
        if key.startswith('bridge.'):
            _, direction, level, part, name = key.split('.')
            bridge = model.bridges[direction][int(level)]
            gradients[key] = bridge.get_parameter(f'{PARTS[part]}.{name}').grad
    wrong = dict(
        terms=unequal_numbers({key: value.item() for key, value in terms.items()},
                              expected['term']),
        task=unequal_numbers({key: found[name].item() for key, name in TASK.items()},
                             expected['task'], TASK_RTOL),
        gradients=unequal_numbers(
            {key: value.norm().item() for key, value in gradients.items() if value is not None},
            expected['grad'], TENSORS),
        teacher=[key for key, value in (*model.teacher.named_parameters(),
                                        *enumerate(maps['teacher'])) if value.grad is not None])
    assert {kind: differences for kind, differences in wrong.items() if differences} == {}
