import json
from pathlib import Path

import mmpretrain.models  # noqa: F401
import pytest
import torch
from mmpretrain.registry import MODELS

from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.backbones.repdistiller_keys import NETWORKS, classifier_cfg

FACTS = json.loads((Path(__file__).parents[2] / 'data/cifar_teachers.json').read_text())
OURS = [name for name in NETWORKS if name != 'ResNet50']  # that one is mmpretrain's
WITH_TAIL = {'MobileNetV2', 'ShuffleV2'}


def backbone(name, **kwargs):
    return MODELS.build(dict(classifier_cfg(name)['backbone'], **kwargs))


def test_all_fifteen_are_there():
    assert set(NETWORKS) == set(FACTS) and len(NETWORKS) == 15


@pytest.mark.parametrize('name', FACTS)
def test_parameters_and_shapes(name):
    stem, *stages, pooled = FACTS[name]['features']
    model = MODELS.build(classifier_cfg(name))
    assert sum(p.numel() for p in model.parameters()) == FACTS[name]['params']

    network = backbone(name, out_indices=range(len(stages)))
    shapes = []
    getattr(network, 'relu' if name == 'ResNet50' else 'stem').register_forward_hook(
        lambda module, inputs, out: shapes.append(list(out.shape[1:])))
    model, network = model.to('meta'), network.to('meta')
    image = torch.empty(2, 3, 32, 32, device='meta')
    shapes += [list(out.shape[1:]) for out in network(image)]
    assert shapes == [stem, *stages]
    assert model.extract_feat(image)[-1].shape == (2, *pooled)
    assert model(image).shape == (2, 100)


@pytest.mark.parametrize('name', OURS)
def test_the_children_in_order_are_the_network(name):
    stages = len(FACTS[name]['features']) - 2
    names = ['stem', *(f'layer{i + 1}' for i in range(stages))]
    names += ['tail'] if name in WITH_TAIL else []
    model = backbone(name, out_indices=range(len(names) - 1)).eval()
    assert [child for child, _ in model.named_children()] == names
    x = torch.randn(1, 3, 32, 32)
    outs = model(x)
    for child, want in zip(model.children(), (None, *outs)):
        x = child(x)
        assert want is None or torch.equal(x, want)  # a later in-place layer would change it
    last, = backbone(name)(torch.randn(1, 3, 32, 32))
    assert last.shape == x.shape


@pytest.mark.parametrize('name', OURS)
def test_which_features_are_past_a_relu(name):
    torch.manual_seed(0)
    model = backbone(name).train()
    x, positive = torch.randn(8, 3, 32, 32), []
    for child in model.children():
        x = child(x)
        positive.append(bool((x >= 0).all()))
    if name.startswith('wrn'):
        assert positive == [False, False, False, True]
    elif name == 'MobileNetV2':
        assert positive == [True, False, False, False, False, True]
    else:
        assert all(positive)


@pytest.mark.parametrize('name', ['resnet20', 'wrn_16_2', 'vgg8', 'MobileNetV2', 'ShuffleV1',
                                  'ShuffleV2'])
def test_a_training_step_reaches_every_parameter(name):
    torch.manual_seed(0)
    model = MODELS.build(classifier_cfg(name)).train()
    model.init_weights()
    losses = model.loss(torch.randn(4, 3, 32, 32), samples(4))
    losses['loss'].backward()
    assert losses['loss'].isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert sum(p.grad.abs().sum() > 0 for p in model.parameters()) > 0.9 * len(
        list(model.parameters()))


def samples(count):
    from mmpretrain.structures import DataSample
    return [DataSample().set_gt_label(i) for i in range(count)]


def test_initialization():
    model = backbone('vgg8')
    model.init_weights()
    conv, norm = model.layer3.convs[0], model.layer3.convs[1]
    assert conv.weight.std().item() == pytest.approx((2 / (9 * 512))**0.5, rel=0.01)
    assert not conv.bias.any() and (norm.weight == 1).all() and not norm.bias.any()


@pytest.mark.parametrize('cfg,message', [
    (dict(type='CIFARResNet', depth=21), "CIFARResNet: no depth 21, did you mean '.*'20'"),
    (dict(type='CIFARResNet', depth='8x'), "did you mean '8x4'"),
    (dict(type='CIFARWideResNet', depth=18, widen_factor=2), 'CIFARWideResNet: depth is 18'),
    (dict(type='CIFARVGG', depth=16), 'CIFARVGG: depth is 16, expected 8 or 13'),
    (dict(type='CIFARShuffleNetV2', out_indices=(4, )), 'out_indices has 4.*layer3, tail'),
])
def test_mistakes_are_named(cfg, message):
    with pytest.raises(ConfigError, match=message) as error:
        MODELS.build(cfg)
    assert '\n' not in str(error.value)
