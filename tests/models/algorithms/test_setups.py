"""Checkpointing and frozen stages under every algorithm: what is trained is trained as without."""
import copy

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from torch.nn.modules.batchnorm import _BatchNorm

from mmdistill_ext.errors import ConfigError
from tests.models.fcfd.heads import livelier
from tests.reliability.algorithms import ALGORITHMS, STAGES, network
from tests.small import batch, build

pytestmark = pytest.mark.filterwarnings('ignore:.*use_reentrant')
LINKS = ['mlp cls', 'mlp seg', 'tffd cls', 'tffd seg']


def algorithm(name, **backbone):
    """In float64, with weights that are the same in all of one name; links of stages 2 and 3."""
    torch.manual_seed(0)
    config = copy.deepcopy(ALGORITHMS[name][1])
    if name == 'fcfd cls':
        config.update(architecture=network('cls', 4), teacher=network('cls', 8), appearance=False,
                      paths=dict(num='all', k_min=2))
    if 'tffd' in name:
        for link in config['distiller']['links'].values():
            link['student'] = STAGES[1:]
    config['architecture']['backbone'].update(backbone)
    return livelier(build(config)).double().train()


def backward(model, name, call=None):
    """Losses, gradients and the student's buffers of one step."""
    data = model.data_preprocessor(batch(ALGORITHMS[name][0], 4), True)
    losses = (call or model)(**dict(data, inputs=data['inputs'].double()), mode='loss')
    sum(value.sum() for key, value in losses.items() if 'loss' in key).backward()
    gradients = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    losses = {key: value for key, value in losses.items() if 'loss' in key}
    return losses, gradients, dict(getattr(model, 'student', model).named_buffers())


def same(found, expected, names=None):
    assert names or found.keys() == expected.keys()
    for key in names or expected:
        torch.testing.assert_close(found[key], expected[key], rtol=1e-9, atol=1e-12,
                                   msg=lambda m, k=key: f'{k}: {m}')


@pytest.mark.parametrize('name', LINKS)
def test_checkpointing_changes_no_gradient(name):
    """PyTorch counts recomputed batches twice in BatchNorm, with distillation or without."""
    model, plain = algorithm(name, with_cp=True), algorithm(name)
    alone = copy.deepcopy(model.student)
    losses, gradients, buffers = backward(model, name)
    expected, expected_gradients, once = backward(plain, name)
    same(losses, expected), same(gradients, expected_gradients)
    alone.data_preprocessor = model.data_preprocessor
    same(buffers, backward(alone, name)[2])
    count = 'backbone.layer2.0.bn1.num_batches_tracked'
    assert buffers[count] == 2 * once[count]


@pytest.fixture
def one_rank(tmp_path):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize('name', LINKS)
def test_checkpointing_and_ddp_change_no_gradient(one_rank, name):
    model, plain = algorithm(name, with_cp=True), algorithm(name)
    found = backward(model, name, MMDistributedDataParallel(model))
    for values, expected in zip(found[:2], backward(plain, name)):
        same(values, expected)


@pytest.mark.parametrize('name', ['mlp cls', 'tffd cls'])
def test_a_place_inside_a_checkpoint_is_refused(name):
    model = algorithm(name)
    turn_on_activation_checkpointing(model, 'architecture.backbone')
    with pytest.raises(ConfigError, match="no gradient .* 'backbone.layer[34]'.* checkpointed"):
        backward(model, name)


@pytest.mark.parametrize('name', [*LINKS, 'fcfd cls'])
def test_a_head_that_a_checkpoint_cuts_off_is_refused(name):
    """The losses on features would go on to train the backbone alone."""
    model = algorithm(name)
    head = 'decode_head' if 'seg' in name else 'head'
    turn_on_activation_checkpointing(model, f'architecture.{head}')
    with pytest.raises(ConfigError, match="the student's own losses .*loss.* have no gradient"):
        backward(model, name)


@pytest.mark.parametrize('name', [*LINKS, 'fcfd cls'])
def test_frozen_stages_change_no_other_gradient(name):
    model, plain = algorithm(name, frozen_stages=1), algorithm(name)
    for place, module in plain.student.named_modules():
        frozen = not model.student.get_submodule(place).training
        if isinstance(module, _BatchNorm) and frozen:  # it normalises by its own statistics
            module.eval()
    losses, gradients, buffers = backward(model, name)
    expected, expected_gradients, expected_buffers = backward(plain, name)
    same(losses, expected), same(gradients, expected_gradients, list(gradients))
    same(buffers, expected_buffers)
    left = expected_gradients.keys() - gradients.keys()
    assert left and all(key.startswith(('architecture.backbone.conv1', 'architecture.backbone.bn1',
                                        'architecture.backbone.stem',
                                        'architecture.backbone.layer1')) for key in left)
