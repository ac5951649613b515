"""FCFD with SimKD, and online."""
import copy

import pytest
import torch
from mmengine.config import ConfigDict
from mmpretrain.registry import MODELS as MMPRETRAIN
from torch.nn import functional as F

from mmdistill_ext.errors import ConfigError

from .reference import (
    STUDENT,
    TEACHER,
    build,
    classify,
    cross,
    data,
    kl,
    model,
    mse,
    norm,
    pool,
    randomized,
    stage,
    task,
)

ALL = dict(num='all')


def simkd_student(out_channels=8, head_channels=8, strides=(1, 2, 2)):
    student = model([4, 5, 6], strides)
    student['neck'] = [dict(type='SimKDProjector', in_channels=6, out_channels=out_channels),
                       dict(type='GlobalAveragePooling')]
    student['head']['in_channels'] = head_channels
    return student


def build_simkd(student=None, teacher=TEACHER, **fields):
    algorithm = build(student or simkd_student(), teacher, type='FCFDSimKD', fill=False, **fields)
    randomized(algorithm.teacher), randomized(algorithm.student.backbone)
    randomized(algorithm.student.neck)
    algorithm.inheritance.taken.update(
        {f'head.{key}': value for key, value in algorithm.teacher.head.state_dict().items()})
    algorithm.inheritance.apply()
    return algorithm


def project(student, x):
    for layer in student.neck[0].convs:
        x = F.conv2d(x, layer.conv.weight, padding=layer.conv.kernel_size[0] // 2)
        x = norm(x, layer.norm).clamp(min=0)
    return x


def simkd_terms(algorithm, images):
    """The definition: C_t after B_st^N wherever C_s was used."""
    student, teacher, bridges = algorithm.student, algorithm.teacher, algorithm.bridges
    f_s, f_t, x, y = {}, {}, images, images
    for k in (1, 2, 3):
        f_s[k] = x = stage(student, k, x)
        f_t[k] = y = stage(teacher, k, y).detach()
    weight, bias = (p.detach() for p in (teacher.head.fc.weight, teacher.head.fc.bias))

    def classified(feature):
        return project(student, feature).mean((2, 3)) @ weight.T + bias

    p_s, p_t = classified(f_s[3]), classify(teacher, f_t[3]).detach()
    last, goal = project(student, f_s[3]), f_t[3]
    if last.shape != goal.shape:  # 2x2 blocks of the larger one
        n, c, h, w = goal.shape
        goal = goal.view(n, c, h // 2, 2, w // 2, 2).mean((3, 5))
    bridged = {k: cross(bridges[f's2t_{k}'], f_s[k], f_t[k].shape[2], True) for k in (1, 2)}
    bridged[3] = last
    terms = {'student.loss': task(p_s), 'fcfd.loss_kd': kl(p_s, p_t, 1),
             'fcfd.loss_app_pooled': mse(pool(last), pool(goal))}
    for k, target in ((1, f_t[1]), (2, f_t[2]), (3, goal)):
        terms[f'fcfd.loss_app_{k}'] = mse(bridged[k], target)
    for k in (1, 2):
        x, l2 = bridged[k], 0
        for later in range(k + 1, 4):
            x = stage(teacher, later, x)
            l2 = l2 + mse(x, f_t[later])
        terms[f'fcfd.loss_s2t_{k}_l2'] = l2 + mse(pool(x), pool(f_t[3]))
        terms[f'fcfd.loss_s2t_{k}_kl'] = kl(classify(teacher, x), p_t, 1)
        x = cross(bridges[f't2s_{k}'], f_t[k], f_s[k].shape[2], True)
        for later in range(k + 1, 4):
            x = stage(student, later, x)
        terms[f'fcfd.loss_t2s_{k}_kl'] = kl(classified(x), p_t, 1)
    return terms


@pytest.mark.parametrize('strides', [(1, 2, 2), (2, 2, 2)], ids=['same size', 'smaller student'])
def test_simkd_terms_and_gradients(strides):
    algorithm = build_simkd(simkd_student(strides=strides), paths=ALL)
    images, samples = data()
    losses, expected = algorithm(images, samples, mode='loss'), simkd_terms(algorithm, images)
    assert sorted(losses) == sorted(expected)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-10, atol=1e-12, msg=name)
    parameters = {n: p for n, p in algorithm.named_parameters() if p.requires_grad}
    assert not any('head' in name for name in parameters)
    mine, theirs = (torch.autograd.grad(sum(terms.values()), list(parameters.values()))
                    for terms in (losses, expected))
    for name, a, b in zip(parameters, mine, theirs):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12, msg=name)


def test_simkd_starts_with_the_teachers_classifier_and_keeps_it():
    teacher = randomized(MMPRETRAIN.build(ConfigDict(TEACHER)))
    algorithm = build(simkd_student(), teacher, type='FCFDSimKD', random_teacher=False, fill=False)
    algorithm.init_weights()
    optimizer = torch.optim.SGD(
        [p for p in algorithm.parameters() if p.requires_grad], 0.1, weight_decay=0.1)
    total, _ = algorithm.parse_losses(algorithm(*data(), mode='loss'))
    total.backward()
    optimizer.step()
    for mine, theirs in zip(algorithm.student.head.parameters(),
                            algorithm.teacher.head.parameters()):
        assert torch.equal(mine, theirs)


def test_the_simkd_student_is_one_model():
    algorithm = build_simkd(paths=ALL)
    algorithm(*data(), mode='loss')
    weights = {key[len('architecture.'):]: value for key, value in algorithm.state_dict().items()
               if key.startswith('architecture.')}
    config = copy.deepcopy(simkd_student())
    config.pop('_scope_')
    exported = MMPRETRAIN.build(ConfigDict(config)).double()
    exported.load_state_dict(weights)
    images = data()[0]
    assert torch.equal(exported.eval()(images), algorithm.eval()(images))
    expected = project(algorithm.student, algorithm.student.backbone(images)[0]).mean((2, 3))
    torch.testing.assert_close(exported(images), F.linear(
        expected, algorithm.teacher.head.fc.weight, algorithm.teacher.head.fc.bias))


def test_simkd_paths_do_not_move_the_projectors_statistics():
    algorithm = build_simkd(paths=ALL)
    alone = copy.deepcopy(algorithm.student)
    algorithm(*data(), mode='loss')
    alone(data()[0])
    for key, value in alone.state_dict().items():
        assert torch.equal(algorithm.student.state_dict()[key], value), key
    assert algorithm.path_stats.t2s_1['neck/0/convs/1/bn'].num_batches_tracked == 1


@pytest.mark.parametrize('student, found', [
    (STUDENT, 'head.fc.weight'), (simkd_student(head_channels=6), 'cannot be multiplied'),
    (model([4, 5, 8], [1, 2, 2]), '0 projectors')])
def test_simkd_mistakes(student, found):
    with pytest.raises(ConfigError, match=found):
        build(student, TEACHER, type='FCFDSimKD')


def test_a_teachers_last_stage_before_its_relu_is_out_of_the_projectors_reach():
    teacher = model([6, 7, 8], [1, 2, 2])
    with pytest.raises(ConfigError, match=r'layer3\.1 \[8, 16, 16\] has negative values') as error:
        build(simkd_student(), teacher, type='FCFDSimKD', teacher_stages=[
            'backbone.layer1', 'backbone.layer2', 'backbone.layer3.1'])
    assert 'end teacher_stages after a ReLU' in str(error.value)


def test_online_terms_and_gradients():
    algorithm = build(type='FCFDOnline', paths=ALL, t2s_terms=['l2', 'kl'],
                      loss_teacher_kd=dict(type='KLDivergence', tau=4, loss_weight=0.5))
    other = build(paths=ALL, t2s_terms=['l2', 'kl'])
    images, samples = data()
    losses, offline = algorithm(images, samples, mode='loss'), other(images, samples, mode='loss')
    logits = {}
    for side in ('student', 'teacher'):
        net = getattr(algorithm, side)
        x = images
        for k in (1, 2, 3):
            x = stage(net, k, x)
        logits[side] = classify(net, x)
    expected = {'teacher.loss': task(logits['teacher']),
                'fcfd.loss_teacher_kd': 0.5 * kl(logits['teacher'], logits['student'].detach(), 4)}
    assert sorted(losses) == sorted({**offline, **expected})
    for name, value in {**offline, **expected}.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-10, atol=1e-12, msg=name)
    teacher = dict(algorithm.teacher.named_parameters())
    rest = {n: p for n, p in algorithm.named_parameters() if not n.startswith('teacher.')}
    total = sum(losses.values())
    wanted = torch.autograd.grad(sum(expected.values()), list(teacher.values()))
    mine = torch.autograd.grad(total, [*teacher.values(), *rest.values()])
    for name, a, b in zip(teacher, mine, wanted):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12, msg=name)
    theirs = torch.autograd.grad(
        sum(offline.values()), [p for n, p in other.named_parameters() if n in rest])
    for name, a, b in zip(rest, mine[len(teacher):], theirs):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12, msg=name)


def test_the_online_teacher_is_saved_and_stays_trainable():
    algorithm = build(type='FCFDOnline', paths=ALL)
    algorithm(*data(), mode='loss')
    assert all(p.requires_grad for p in algorithm.teacher.parameters())
    assert 'teacher.backbone.layer1.0.weight' in algorithm.state_dict()
