"""Every recipe on the GPU: its losses and gradients are the CPU's, and it trains in half precision.

`make test-gpu`. The tests of the equations run on the CPU in float64; what is left to show here is
that nothing depends on where it runs.
"""
import math

import pytest
import torch
from mmdet.models.detectors import BaseDetector
from mmdet.models.task_modules.samplers import RandomSampler
from mmengine.optim import build_optim_wrapper
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdistill_ext.cli.command import use_amp
from tests.configs.tiny import CONFIGS, build_model, load, recipes, tiny_batch, tiny_size

pytestmark = pytest.mark.gpu
RECIPES = [str(path.relative_to(CONFIGS)) for path in recipes()]


@pytest.fixture(autouse=True)
def reproducible(monkeypatch):
    """Nothing is drawn on the device, whose generator is another, and float32 is float32."""
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    monkeypatch.setattr(RandomSampler, 'random_choice', lambda self, gallery, num: gallery[:num])


def first_step(name, device):
    """Losses and gradients in the recipe's first step."""
    torch.manual_seed(0)
    config = load(name)
    model = build_model(config).to(device).train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.
    torch.manual_seed(1)  # the paths that FCFD draws
    data = model.data_preprocessor(tiny_batch(config, tiny_size(config)), True)
    if config.default_scope != 'mmdet':  # whose boxes are float32
        model.double()
        data['inputs'] = data['inputs'].double()
    total, logged = model.parse_losses(model(**data, mode='loss'))
    total.backward()
    return ({key: value.item() for key, value in logged.items() if 'loss' in key},
            {key: value.grad for key, value in model.named_parameters()
             if value.grad is not None})


@pytest.mark.parametrize('name', RECIPES)
def test_a_step_is_the_cpus(name):
    losses, gradients = first_step(name, 'cuda')
    expected, their_gradients = first_step(name, 'cpu')
    rounding = 1e-3 if '/det' in name else 1e-6
    assert losses == pytest.approx(expected, rel=rounding, abs=rounding / 100)
    assert gradients.keys() == their_gradients.keys()
    away = math.hypot(*(torch.dist(gradients[key].cpu(), value)
                        for key, value in their_gradients.items()))
    assert away < 10 * rounding * math.hypot(*(value.norm() for value in their_gradients.values()))


@torch.no_grad()
def calibrate(model, images):
    """Brings random weights to where trained ones are; else half precision overflows."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.
    features = model.extract_feat(images)
    for norm in norms:
        norm.momentum = .1
    if isinstance(model, BaseDetector):  # an FPN has no norm, and heads make it worse
        largest = max(level.abs().max() for level in features)
        for conv in model.neck.fpn_convs:
            conv.conv.weight /= largest


@pytest.mark.parametrize('name', RECIPES)
def test_it_trains_with_amp(name):
    torch.manual_seed(0)
    config = load(name)
    use_amp(config)
    amp = config.optim_wrapper.get('architecture', config.optim_wrapper)
    amp.loss_scale = dict(init_scale=1.)  # their losses are large, and three steps soon over
    amp.optimizer.lr = 1e-8  # random weights would not stand the recipe's
    if 'teacher' in config.model:
        config.model.teacher_fuse_bn = False  # or it could not be calibrated
    model = build_model(config).cuda()
    data = model.data_preprocessor(tiny_batch(config, tiny_size(config)), True)
    for network in (getattr(model, 'student', model), getattr(model, 'teacher', None)):
        if network is not None:
            calibrate(network, data['inputs'])
    model.train()
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    before = {key: value.detach().clone() for key, value in model.named_parameters()
              if value.requires_grad}
    for _ in range(3):
        logged = model.train_step(tiny_batch(config, tiny_size(config)), wrapper)
        assert all(math.isfinite(value) for value in logged.values()), logged
    for link in getattr(getattr(model, 'distiller', None), 'links', []):
        assert logged[f'distill.{link.name}'] > 0
    assert all(value.isfinite().all() for value in model.parameters())
    assert any(not torch.equal(value, before[key]) for key, value in model.named_parameters()
               if key in before)
