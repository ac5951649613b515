"""FCFD with activation checkpointing: all that a step moves is as without it, or it is refused."""
import copy

import pytest
import torch
from mmengine.model import MMDistributedDataParallel, convert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmdistill_ext.errors import ConfigError
from tests.models.fcfd.heads import algorithm, segmentor
from tests.small import batch, model_config

pytestmark = pytest.mark.filterwarnings('ignore:.*use_reentrant')
SIDES = dict(student='architecture', teacher='teacher')
BLOCKS = ['backbone.layer1.1', 'backbone.layer3', 'backbone.layer4.1']


def classifiers(with_cp=None, kind='FCFDDistill', **fields):
    """Two ResNets in float64; ``with_cp`` of the student or the teacher."""
    configs = dict(student=model_config('cls', 4), teacher=model_config('cls', 8))
    if with_cp:
        configs[with_cp]['backbone']['with_cp'] = True
    fields = dict(dict(paths=dict(num='all'), teacher_channels_last=False), **fields)
    return algorithm(kind, **configs, **fields)


def with_cp(side):
    return classifiers(side)


def by_mmengine(side):
    model = classifiers()
    turn_on_activation_checkpointing(model, [f'{SIDES[side]}.{block}' for block in BLOCKS])
    return model


def not_reentrant(side):
    model = classifiers()
    wrap(model, [f'{SIDES[side]}.{block}' for block in BLOCKS])
    return model


def wrap(model, places):
    for place in places:
        module = model.get_submodule(place)
        module.forward = lambda *x, run=module.forward: checkpoint(run, *x, use_reentrant=False)


def train(model, task='cls', steps=2, wrapped=None):
    """Weights, buffers and losses after some steps, and how often each layer ran."""
    call = model if wrapped is None else MMDistributedDataParallel(model, **wrapped)
    runs = dict.fromkeys((n for n, m in model.named_modules() if isinstance(m, _BatchNorm)), 0)
    for name in runs:
        def count(*_, name=name):
            runs[name] += 1
        model.get_submodule(name).register_forward_pre_hook(count)
    optimizer = OptimWrapper(torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], .01, momentum=.9))
    for _ in range(steps):
        data = model.data_preprocessor(batch(task, 4), True)
        losses = call(**dict(data, inputs=data['inputs'].double()), mode='loss')
        optimizer.update_params(model.parse_losses(losses)[0])
    values = dict(dict(model.named_parameters()), **dict(model.named_buffers()), **losses)
    return {key: value.detach().clone() for key, value in values.items()}, runs


def same(model, plain, task='cls'):
    """After two steps all of both is equal; of the first some layers ran more often."""
    (values, runs), (expected, plain_runs) = train(model, task), train(plain, task)
    assert values.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(values[key], value, rtol=1e-9, atol=1e-12,
                                   msg=lambda m, k=key: f'{k}: {m}')
    assert not any(module._forward_hooks_always_called for module in model.modules())
    return {name for name in runs if runs[name] > plain_runs[name]}


@pytest.mark.parametrize('side', SIDES)
@pytest.mark.parametrize('checkpointing', [with_cp, by_mmengine, not_reentrant])
def test_statistics_and_weights_are_those_without_checkpointing(checkpointing, side):
    again = same(checkpointing(side), classifiers())
    assert {name.split('.')[0] for name in again} == {SIDES[side]}
    assert len(again) >= 6 and any('layer4' in name for name in again)


def test_layers_that_sync_bn_replaced():
    model, plain = (convert_sync_batchnorm(m) for m in (with_cp('student'), classifiers()))
    assert same(model, plain)


def test_a_teacher_with_frozen_statistics():
    fields = dict(teacher_norm_eval=True)
    assert same(classifiers('student', **fields), classifiers(**fields))
    fused = classifiers('teacher', **fields)
    assert not same(fused, classifiers(**fields))  # it has no BatchNorm left that could count


@pytest.mark.parametrize('wrapped', [turn_on_activation_checkpointing, wrap])
def test_heads(wrapped):
    def build():
        return algorithm('FCFDSeg', segmentor(4), segmentor(), teacher_norm_eval=False)

    model = build()
    wrapped(model, [f'{side}.decode_head.bottleneck' for side in SIDES.values()])
    assert same(model, build(), 'seg') == {
        f'{side}.decode_head.bottleneck.bn' for side in SIDES.values()}


REFUSED = {  # what mmengine's switch is given: the line
    'architecture.backbone': "FCFD, student: no gradient reaches a parameter through "
                             "'backbone.layer1', 'backbone.layer2', 'backbone.layer3', "
                             "'backbone.layer4', because",
    'architecture.head': "the student's own losses (loss) have no gradient",
    'teacher.head': "FCFD, path s2t_1: no gradient reaches a parameter through 'head', because",
}


@pytest.mark.parametrize('place', REFUSED)
def test_a_checkpoint_that_lets_no_gradient_through_is_refused(place):
    """PyTorch's reentrant kind does not see the tensors in a tuple, and has no graph inside."""
    model = classifiers()
    turn_on_activation_checkpointing(model, place)
    refused(model, REFUSED[place], 'activation_checkpointing')


def refused(model, *parts):
    with pytest.raises(ConfigError) as error:
        train(model)
    for part in parts:
        assert part in str(error.value) and '\n' not in str(error.value)


def test_a_head_that_a_checkpoint_cuts_off_is_refused():
    model = algorithm('FCFDSeg', segmentor(4), segmentor())
    turn_on_activation_checkpointing(model, 'teacher.decode_head')
    with pytest.raises(ConfigError, match="FCFDSeg, s2t: no gradient .* 'decode_head', because"):
        train(model, 'seg')


@pytest.mark.parametrize('checkpointed', ['with_cp', 'activation_checkpointing'])
def test_a_teacher_that_is_trained_too_is_not_checkpointed(checkpointed):
    """Its recomputation would add the mixed paths' gradient to its weights."""
    by_flag = checkpointed == 'with_cp'
    model = classifiers('teacher' if by_flag else None, kind='FCFDOnline')
    if not by_flag:
        turn_on_activation_checkpointing(model, 'teacher.backbone.layer3')
    refused(model, 'is trained too, and its recomputation')


def test_where_no_mixed_path_runs_it_may():
    model = classifiers(kind='FCFDOnline')
    turn_on_activation_checkpointing(model, 'teacher.backbone.layer1')
    assert same(model, classifiers(kind='FCFDOnline'))


def test_a_head_that_is_trained_too_is_not_checkpointed():
    model = algorithm('FCFDSeg', segmentor(4), segmentor(), teacher_trainable=True)
    train(copy.deepcopy(model), 'seg', steps=1)
    turn_on_activation_checkpointing(model, 'teacher.decode_head.bottleneck')
    with pytest.raises(ConfigError, match='is trained too, and its recomputation'):
        train(model, 'seg')


@pytest.mark.parametrize('side', SIDES)
def test_online_networks_may_be_checkpointed_without_reentry(side):
    model = classifiers(kind='FCFDOnline')
    wrap(model, [f'{SIDES[side]}.{block}' for block in BLOCKS])
    assert same(model, classifiers(kind='FCFDOnline'))


def test_an_online_student_may_be_checkpointed():
    fields = dict(kind='FCFDOnline')
    assert same(classifiers('student', **fields), classifiers(**fields))


@pytest.fixture
def one_rank(tmp_path):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_checkpointing_under_ddp(one_rank):
    """The weights of a block that several paths recompute are ready more than once."""
    with pytest.raises(RuntimeError, match='mark a variable ready only once'):
        train(classifiers('student'), wrapped=dict(find_unused_parameters=True))
    values, runs = train(classifiers('student'), wrapped=dict(static_graph=True))
    expected, plain_runs = train(classifiers())
    for key, value in expected.items():
        torch.testing.assert_close(values[key], value, rtol=1e-9, atol=1e-12)
    assert runs != plain_runs


def frozen(stages, **fields):
    student = model_config('cls', 4)
    student['backbone']['frozen_stages'] = stages
    return algorithm('FCFDDistill', student, model_config('cls', 8), teacher_channels_last=False,
                     **fields)


def test_a_frozen_stage_is_refused_where_a_term_reads_it():
    refused(frozen(1, paths=dict(num='all')), "'backbone.layer1', because", 'frozen_stages')
    refused(frozen(2, appearance=False, paths=dict(num='all', k_min=2)), "'backbone.layer2'")


def test_frozen_stages_are_as_they_were_and_the_others_train():
    model = frozen(1, appearance=False, paths=dict(num='all', k_min=2))
    before = copy.deepcopy(model.student.state_dict())
    train(model)
    for key, value in model.student.state_dict().items():
        moves = not key.startswith(('backbone.conv1', 'backbone.bn1', 'backbone.layer1'))
        assert torch.equal(value, before[key]) != moves, key
