"""RepDistiller's fifteen CIFAR networks: logits and features, in evaluation and in training."""
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

from mmdistill_ext.models.backbones.repdistiller_keys import NETWORKS, classifier_cfg, convert

from .formula import DATA, NETWORK, images_of, shapes_of, tensor_of

LAYERS = ['layer1', 'layer2', 'layer3']
# The modules that give the features which the authors return; '<' is what goes into a module.
PLACES = {'ResNet50': ['relu', *LAYERS, 'layer4'],
          'wrn': ['stem', 'layer1', 'layer2', 'layer3.bn<'],
          'vgg': ['stem', *LAYERS, 'layer4'],
          'MobileNetV2': ['stem', *LAYERS, 'layer4']}
LARGE = ('ResNet50', 'resnet110', 'resnet32x4', 'resnet56')


def recorded(net, places):
    """From now on the outputs of the backbone's modules, by place."""
    kept = {}
    for place in places:
        module = net.get_submodule(f'backbone.{place.rstrip("<")}')
        if place.endswith('<'):
            module.register_forward_pre_hook(
                lambda _, args, place=place: kept.update({place: args[0].clone()}))
        else:
            module.register_forward_hook(
                lambda _, __, output, place=place: kept.update({place: output.clone()}))
    return kept


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=pytest.mark.train) if name in LARGE else name for name in NETWORKS])
def test_logits_and_features(name):
    oracle = np.load(DATA / 'networks.npz')
    shapes = shapes_of(oracle[f'{name}/names'], oracle[f'{name}/shapes'])
    _, state = convert({key: tensor_of(f'{name}.{key}', shape)
                        for key, shape in shapes.items()}, name)
    net = MODELS.build(classifier_cfg(name))
    net.load_state_dict(state)
    net.double()
    places = next((places for key, places in PLACES.items() if name.startswith(key)),
                  ['stem', *LAYERS])
    kept = recorded(net, places)
    for mode in ('eval', 'train'):
        net.train(mode == 'train')
        with torch.no_grad():
            pooled = net.extract_feat(images_of(5, (4, 3, 32, 32)))
            mine = dict(logits=net.head(pooled).numpy())
        theirs = dict(logits=oracle[f'{name}/{mode}/logits'])
        features = dict(kept, pooled=pooled[-1])
        for index, place in enumerate([*places, 'pooled']):
            x = features[place]
            theirs[place] = oracle[f'{name}/{mode}/feat{index}']
            mine[place] = np.array([x.mean(), x.abs().mean(), x.square().mean()**0.5, x.min(),
                                    x.max(), *x.flatten()[::max(1, x.numel() // 16)][:16]])
        error = {key: np.abs(mine[key] - theirs[key]).max() / np.abs(theirs[key]).max()
                 for key in theirs}
        assert {key: value for key, value in error.items() if not value <= NETWORK} == {}, mode
