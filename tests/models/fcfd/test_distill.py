"""FCFD against its equations: terms, gradients, statistics, and what is said of mistakes."""
import copy
import pickle

import pytest
import torch
from mmengine.logging import MessageHub

from mmdistill_ext.errors import ConfigError

from .reference import EVERY, PAIRS, STUDENT, TEACHER, build, data, dkd, model, reference

ALL = dict(num='all')
MSE, KL = dict(type='FeatureMSELoss'), dict(type='KLDivergence')
OPTIONS = {  # fields of FCFDDistill, the paths it then runs, arguments of the reference
    'all paths': (dict(paths=ALL), EVERY, {}),
    'no paths': (dict(paths=dict(num=0)), [], {}),
    'k_min': (dict(paths=dict(k_min=2)), EVERY[2:], {}),
    'position': (dict(paths=dict(positions=[1])), EVERY[:2], {}),
    'student to teacher': (dict(paths=dict(num='all', directions='s2t')), EVERY[::2], {}),
    'teacher to student': (dict(paths=dict(num='all', directions=['t2s'])), EVERY[1::2], {}),
    'partial': (dict(paths=ALL, partial=True, s2t_terms='l2'), EVERY,
                dict(partial=True, s2t_terms=['l2'])),
    'kl only': (dict(paths=ALL, s2t_terms='kl'), EVERY, dict(s2t_terms=['kl'])),
    'l2 only': (dict(paths=ALL, s2t_terms=['l2']), EVERY, dict(s2t_terms=['l2'])),
    'l2 in the student': (dict(paths=ALL, t2s_terms=('kl', 'l2')), EVERY,
                          dict(t2s_terms=['kl', 'l2'])),
    'function only': (dict(paths=ALL, appearance=False), EVERY, dict(appearance=False)),
    'function only, to the student': (
        dict(paths=dict(num='all', directions='t2s'), appearance=False), EVERY[1::2],
        dict(appearance=False)),
    'weights and temperature': (
        dict(paths=ALL, loss_mse=dict(MSE, loss_weight=0.02), loss_kd=dict(KL, tau=4),
             loss_func_kl=dict(KL, tau=4, loss_weight=0.2)), EVERY,
        dict(tau=4, mse_weight=0.02, func_weight=0.2)),
    'dkd': (dict(paths=ALL, loss_kd=dict(type='DecoupledKLLoss', tau=4),
                 loss_func_kl=dict(type='DecoupledKLLoss', tau=4)), EVERY,
            dict(divergence=dkd, tau=4)),
    'channels last': (dict(paths=ALL, teacher_channels_last=True), EVERY, {}),
    'frozen statistics': (dict(paths=ALL, teacher_norm_eval=True, teacher_fuse_bn=False), EVERY,
                          {}),
}


def losses_of(algorithm, images, samples):
    return algorithm(images, samples, mode='loss')


def check(algorithm, paths, **options):
    images, samples = data()
    losses = losses_of(algorithm, images, samples)
    expected = reference(algorithm, images, paths, **options)
    assert sorted(losses) == sorted(expected)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-10, atol=1e-12, msg=name)
        assert value > 0
    parameters = {n: p for n, p in algorithm.named_parameters() if p.requires_grad}
    total, _ = algorithm.parse_losses(losses)
    torch.testing.assert_close(total, sum(expected.values()), rtol=1e-10, atol=0)
    mine, theirs = (torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
                    for loss in (total, sum(expected.values())))
    for name, a, b in zip(parameters, mine, theirs):
        assert (a is None) == (b is None), name
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12, msg=name)


@pytest.mark.parametrize('pair', PAIRS)
def test_terms_and_gradients_for_every_pair(pair):
    algorithm = build(*PAIRS[pair], paths=ALL)
    stages = len(algorithm.student_net)
    check(algorithm, [(k, d) for k in range(1, stages) for d in ('s2t', 't2s')])


@pytest.mark.parametrize('option', OPTIONS)
def test_terms_and_gradients_for_every_option(option):
    fields, paths, arguments = OPTIONS[option]
    check(build(**fields), paths, **arguments)


def test_two_paths_are_drawn_each_iteration():
    algorithm, seen = build(), set()
    hub = MessageHub.get_instance('test_two_paths')
    hub.update_info('seed', 3)
    for iteration in range(8):
        hub.update_info('iter', iteration)
        paths = [tuple(path) for path in algorithm.sampler.sample(3, iteration)]
        assert len(paths) == 2
        check(algorithm, paths)
        seen.add(tuple(paths))
    assert len(seen) > 2


def test_a_fused_teacher_gives_the_same():
    frozen = dict(paths=ALL, teacher_norm_eval=True)
    plain = build(**frozen, teacher_fuse_bn=False)
    fused = build(**frozen, teacher=copy.deepcopy(plain.teacher), random_teacher=False, fill=False)
    assert not any('BatchNorm' in type(m).__name__ for m in fused.teacher.modules())
    for part in ('student', 'bridges'):
        getattr(fused, part).load_state_dict(getattr(plain, part).state_dict())
    expected = losses_of(plain, *data())
    for name, value in losses_of(fused, *data()).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=0)


STAGES_OF_STUDENT = {1: 'backbone.layer1', 2: 'backbone.layer2', 3: 'backbone.layer3', 4: 'head'}


@pytest.mark.parametrize('k, direction', EVERY)
def test_which_modules_a_path_trains(k, direction):
    algorithm = build(paths=ALL)
    losses = losses_of(algorithm, *data())
    name = f'{direction}_{k}'
    sum(v for key, v in losses.items() if name in key).backward()
    reached = {key.rsplit('.', 1)[0].removesuffix('.0').removesuffix('.1').removesuffix('.fc')
               for key, p in algorithm.named_parameters() if p.grad is not None and p.grad.any()}
    stages = range(1, k + 1) if direction == 's2t' else range(k + 1, 5)
    expected = {f'architecture.{STAGES_OF_STUDENT[stage]}' for stage in stages}
    bridge = {f'bridges.{name}.conv', f'bridges.{name}.bn'}
    assert reached == expected | bridge
    for key, p in algorithm.named_parameters():
        owner = any(key.startswith(f'{module}.') for module in reached)
        # a shift before a norm layer has no effect, so its gradient is rounding or zero
        assert (p.grad is not None) == owner, key


def test_nothing_reaches_the_teacher():
    algorithm = build(paths=ALL, t2s_terms=['l2', 'kl'])
    before = copy.deepcopy(dict(algorithm.teacher.named_parameters()))
    total, _ = algorithm.parse_losses(losses_of(algorithm, *data()))
    total.backward()
    for name, parameter in algorithm.teacher.named_parameters():
        assert parameter.grad is None and not parameter.requires_grad
        assert torch.equal(parameter, before[name])


def statistics(module):
    return {k: v.clone() for k, v in module.state_dict().items() if 'running' in k or 'num_b' in k}


@pytest.mark.parametrize('pair', ['same size', 'four stages'])
def test_the_pure_paths_statistics_are_those_of_pure_runs(pair):
    algorithm = build(*PAIRS[pair], paths=ALL, t2s_terms=['l2', 'kl'])
    student, teacher = copy.deepcopy(algorithm.student), copy.deepcopy(algorithm.teacher)
    optimizer = torch.optim.SGD(
        [p for p in algorithm.parameters() if p.requires_grad], 0.05, momentum=0.9)
    for step in range(20):
        images, samples = data(step)
        # the run without mixed paths, its weights replayed
        student.load_state_dict({**student.state_dict(), **dict(
            algorithm.student.named_parameters())})
        student(images), teacher(images)
        optimizer.zero_grad()
        total, _ = algorithm.parse_losses(losses_of(algorithm, images, samples))
        total.backward()
        optimizer.step()
    for mine, alone in ((algorithm.student, student), (algorithm.teacher, teacher)):
        moved = statistics(mine)
        assert all(torch.equal(value, statistics(alone)[key]) for key, value in moved.items())
        assert all(v == 20 for k, v in moved.items() if k.endswith('num_batches_tracked'))
    for key, value in statistics(algorithm.path_stats).items():
        assert value == 20 if key.endswith('num_batches_tracked') else value.abs().sum() > 0
    kept = statistics(algorithm.path_stats)
    assert len({float(v.double().sum()) for k, v in kept.items() if k.endswith('mean')}) == \
        len([k for k in kept if k.endswith('mean')])


def test_statistics_of_the_paths_are_in_the_checkpoint_and_the_teacher_is_not():
    algorithm = build(paths=ALL)
    losses_of(algorithm, *data())
    state = algorithm.state_dict()
    assert 'path_stats.s2t_1.backbone/layer2/1.running_mean' in state
    assert 'path_stats.t2s_2.backbone/layer3/1.running_var' in state
    assert not any(key.startswith('teacher') and 'weight' in key for key in state)
    other = build(paths=ALL, seed=1)
    other.load_state_dict(state)
    for key, value in algorithm.path_stats.state_dict().items():
        assert torch.equal(other.path_stats.state_dict()[key], value)


def test_frozen_student_layers_keep_still():
    algorithm = build(paths=ALL)
    algorithm.student.backbone.layer2.requires_grad_(False)
    algorithm.student.backbone.layer2.eval()
    before = statistics(algorithm.student.backbone.layer2)
    check(algorithm, EVERY)
    for key, value in statistics(algorithm.student.backbone.layer2).items():
        assert torch.equal(value, before[key])
    assert algorithm.path_stats.t2s_1['backbone/layer2/1'].num_batches_tracked == 0
    assert algorithm.path_stats.t2s_1['backbone/layer3/1'].num_batches_tracked == 1


def test_building_runs_leave_no_statistics():
    algorithm = build(fill=False)
    for key, value in statistics(algorithm).items():
        assert (value == (1 if key.endswith('var') else 0)).all(), key
    assert algorithm.training and algorithm.student.training


def test_other_distillation_beside_it():
    links = dict(
        loss_mlp=dict(student='backbone.layer3', teacher='backbone.layer3',
                      connector='MLPConnector', loss=dict(type='FeatureL2Loss', loss_weight=1e-3)),
        loss_intra=dict(student=['backbone.layer2', 'backbone.layer3'],
                        loss=dict(type='TfFDIntraLoss', loss_weight=1e-3)))
    algorithm = build(paths=ALL, distiller=dict(type='LinkDistiller', links=links))
    losses = losses_of(algorithm, *data())
    assert losses.pop('distill.loss_mlp') > 0 and losses.pop('distill.loss_intra') > 0
    expected = reference(algorithm, data()[0], EVERY)
    assert sorted(losses) == sorted(expected)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-10, atol=1e-12, msg=name)


def test_stopped_distillation_leaves_the_task():
    algorithm = build()
    algorithm.distillation_stopped = True
    assert list(losses_of(algorithm, *data())) == ['student.loss']


@pytest.mark.parametrize('fields, found, fits', [
    (dict(teacher=model([6, 7, 8, 9], [1, 2, 2, 1])), 'the student has 3 stages',
     'the teacher has 4 stages'),
    (dict(teacher=model([6, 7, 8], [3, 1, 2])), 'changes 22/64 times'.replace('22/64', '11/32'),
     '1/2, 1 and 2 would fit'),
    (dict(paths=dict(num=5)), 'num is 5', "0 to 4 or 'all'"),
    (dict(paths=dict(positions=[3])), 'position 3, which is the last stage', '1, 2 would fit'),
    (dict(paths=dict(number=2)), "no field 'number'", "'num'"),
    (dict(s2t_terms='l1'), "'l1'", "'l2' and 'kl'"),
    (dict(t2s_terms=[]), 't2s_terms', "'l2' and 'kl'"),
    (dict(partial=True), 'partial=True', "s2t_terms='l2'"),
    (dict(student_stages=['backbone.layer1', 'backbone.layer4', 'backbone.layer3']),
     "no module 'backbone.layer4'", "'backbone.layer3'"),
])
def test_mistakes_are_found_when_it_is_built(fields, found, fits):
    with pytest.raises(ConfigError) as error:
        build(**fields)
    message = str(error.value)
    assert '\n' not in message and found in message and fits in message


def test_other_classes():
    other = copy.deepcopy(TEACHER)
    other['head']['num_classes'] = 9
    with pytest.raises(ConfigError, match='the student has 5 classes, the teacher 9'):
        build(STUDENT, other)


def test_dkd_and_mixed_labels():
    algorithm = build(loss_kd=dict(type='DecoupledKLLoss'))
    images, samples = data()
    for sample in samples:
        sample.set_gt_score(torch.full((5, ), 0.2, dtype=torch.double))
    with pytest.raises(ConfigError, match='one label an image'):
        losses_of(algorithm, images, samples)


def test_precision_of_its_own_for_the_teacher():
    algorithm = build(paths=ALL, teacher_dtype='bf16', double=False)
    images, samples = data()
    losses = losses_of(algorithm, images.float(), samples)
    assert all(loss.dtype == torch.float for loss in losses.values())
    total, _ = algorithm.parse_losses(losses)
    total.backward()
    expected = reference(algorithm.double(), images, EVERY)
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=0.05), name


@pytest.mark.parametrize('dtype, autocast', [('bf16', False), (None, True)])
def test_autocast_is_off_on_every_path_of_a_teacher_of_a_precision_of_its_own(dtype, autocast):
    algorithm = build(paths=ALL, teacher_dtype=dtype, double=False)
    images, samples = data()
    products = dict(teacher=[], student=[])
    for side, seen in products.items():
        getattr(algorithm, side).backbone.layer3.register_forward_pre_hook(
            lambda *_, seen=seen: seen.append((torch.eye(2) @ torch.eye(2)).dtype))
    with torch.autocast('cpu', torch.bfloat16):
        losses_of(algorithm, images.float(), samples)
    # the pure path, and from both positions a mixed one
    assert products['teacher'] == 3 * [torch.bfloat16 if autocast else torch.float32]
    assert products['student'] == 3 * [torch.bfloat16]


def test_mixed_precision():
    algorithm = build(paths=ALL, double=False)
    images, samples = data()
    expected = {name: value.item() for name, value in reference(
        copy.deepcopy(algorithm).double(), images, EVERY).items()}
    with torch.autocast('cpu', torch.bfloat16):
        losses = losses_of(algorithm, images.float(), samples)
    for name, value in losses.items():
        assert value.dtype == torch.float
        assert value.item() == pytest.approx(expected[name], rel=0.05), name
    total, _ = algorithm.parse_losses(losses)
    total.backward()
    assert all(p.grad.isfinite().all() for p in algorithm.parameters() if p.requires_grad)
    assert all(p.grad is None for p in algorithm.teacher.parameters())


@pytest.mark.parametrize('copied', [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_is_a_model_of_its_own(copied):
    algorithm = build(paths=ALL)
    other = copied(algorithm)  # as EMAHook and sweeps make one
    for parameter in algorithm.parameters():
        if parameter.requires_grad:  # the frozen teacher's are shared
            parameter.data.zero_()
    losses = losses_of(other, *data())
    for name, value in reference(other, data()[0], EVERY).items():
        torch.testing.assert_close(losses[name], value, rtol=1e-10, atol=1e-12, msg=name)
