"""The pull of each loss, against a backward pass of its own; and the tool on real configs."""
import inspect
import re

import pytest
import torch
from mmengine.config import Config
from mmrazor.registry import MODELS

from mmdistill_ext.analysis.loss_pulls import Pull, pulls
from mmdistill_ext.analysis.loss_weights import advice, field_of, loss_at
from mmdistill_ext.errors import ConfigError
from tests.configs.tiny import CONFIGS
from tests.tools.toy import tool, write


def two_losses(**extra):
    """A student of two parts; the first has both losses, the second the task's alone."""
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.architecture = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))

        def losses(self, x):
            hidden = self.architecture[0](x)
            return {'student.loss': self.architecture[1](hidden).square().mean(),
                    'distill.loss_a': [hidden.square().sum(), hidden.sum()], **extra}

    torch.manual_seed(0)
    return Two().double()


def gradient(loss, weights):
    grads = torch.autograd.grad(loss, weights, retain_graph=True)
    return sum(float(g.square().sum()) for g in grads)**.5


def test_norms_are_those_of_a_backward_of_each_loss():
    model, x = two_losses(), torch.randn(5, 3).double()
    losses = model.losses(x)
    config = dict(type='LeanTeacherDistill', distiller=dict(links=dict(loss_a=dict())))
    found = pulls(model, losses, config)
    shared = list(model.architecture[0].parameters())
    both = losses['distill.loss_a'][0] + losses['distill.loss_a'][1]
    for name in ('distill.loss_a', 'model.distiller.links.loss_a.loss'):
        pull = found[name]
        assert pull.size == pytest.approx(both.item())
        assert pull.gradient == pytest.approx(gradient(both, shared))
        assert pull.task == pytest.approx(gradient(losses['student.loss'], shared))
        assert pull.ratio == pytest.approx(pull.gradient / pull.task)
    assert set(found) == {'distill.loss_a', 'model.distiller.links.loss_a.loss'}


def test_a_field_is_the_sum_of_its_losses():
    """Two terms with opposite gradients share a weight: together they pull at nothing."""
    model = two_losses()
    hidden = model.architecture[0](torch.ones(1, 3).double())
    losses = {'student.loss': hidden.sum(), 'fcfd.loss_app_1': hidden.square().sum(),
              'fcfd.loss_app_2': -hidden.square().sum(), 'fcfd.loss_s2t_1_kl': hidden.sum().abs()}
    found = pulls(model, losses, dict(type='FCFDDistill'))
    assert found['fcfd.loss_app_1'].gradient > 0
    assert found['model.loss_mse'].gradient == pytest.approx(0, abs=1e-12)
    assert found['model.loss_func_kl'].gradient == found['fcfd.loss_s2t_1_kl'].gradient


def test_a_student_without_losses_is_refused():
    model = two_losses()
    with pytest.raises(ConfigError, match='calculate_student_loss=False'):
        pulls(model, {'distill.loss': model.architecture[0].weight.sum()}, dict(type='x'))


@pytest.mark.parametrize('loss, field', [
    ('distill.loss_fpn', 'model.distiller.links.loss_fpn.loss'),
    ('distill.loss_dkd', 'model.distiller.distill_losses.loss_dkd'),
    ('fcfd.loss_kd', 'model.loss_kd'), ('fcfd.loss_app', 'model.loss_app'),
    ('fcfd.loss_app_2', 'model.loss_mse'), ('fcfd.loss_app_pooled', 'model.loss_mse'),
    ('fcfd.loss_s2t_2_l2', 'model.loss_mse'), ('fcfd.loss_t2s_1_kl', 'model.loss_func_kl'),
    ('fcfd.loss_s2t_kl', 'model.loss_func'), ('fcfd.loss_kd_cls', 'model.loss_func')])
def test_the_field_of_a_loss(loss, field):
    assert field_of(loss, dict(distiller=dict(links=dict(loss_fpn=dict())))) == field


@pytest.mark.parametrize('config', [
    'fcfd/cls/fcfd_resnet56_resnet20_1xb64_cifar100.py',
    'fcfd/seg/fcfd_backbone_pspnet_r101-d8_pspnet_r18-d8_8xb2-40k_cityscapes-512x512.py'])
def test_the_fields_are_there_in_the_recipes(config):
    """Where a recipe states the weight, it is read; the algorithm has a loss of each name."""
    cfg = Config.fromfile(CONFIGS / config)
    kind = MODELS.get(cfg.model.type)
    names = {name for base in kind.__mro__ for name in inspect.signature(base).parameters}
    for name in ('loss_kd', 'loss_mse', 'loss_func_kl', 'loss_func', 'loss_app'):
        if name in cfg.model:
            assert name in names
    if 'loss_mse' in cfg.model:
        assert loss_at('model.loss_mse', cfg)['loss_weight'] == .02
    assert loss_at('model.nothing.loss', cfg) is None


@pytest.mark.train
def test_a_weight_a_thousand_times_too_large_is_found_and_mended(tmp_path):
    """What the tool says to paste brings the two gradients to one size; nothing is left behind."""
    config = write(tmp_path)
    config.write_text(config.read_text() + """
visualizer = dict(type='Visualizer', vis_backends=[dict(type='NothingIsToldToABackend')])
""")
    field = 'model.distiller.links.loss_feature.loss.loss_weight'

    def run(*options):
        done = tool('analysis/weights.py', 'toy.py', '--steps', '6', '--every', '2', '--out', 'out',
                    '--cfg-options', *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        ratio = float(done.stdout.split('| distill.loss_feature |')[1].split('|')[3])
        return ratio, done.stdout + done.stderr

    lr = 'optim_wrapper.optimizer.lr=0'  # so that both runs see the same weights
    ratio, said = run(lr, f'{field}=1000')
    assert ratio > 10 and 'WARNING' in said and 'drowns the task' in said
    option = re.search(r'--cfg-options (\S+)', said)[1]
    assert option.startswith(f'{field}=')
    ratio, diverged = run(f'{field}=1e9')
    assert ratio > 1e6 and re.search(r'the sum of the losses is (nan|inf) in step [2-6]', diverged)
    ratio, said = run(lr, option)
    assert ratio == pytest.approx(1, rel=.01) and 'WARNING' not in said
    assert (tmp_path / 'out/weights.png').is_file() and (tmp_path / 'out/weights.csv').is_file()
    assert not (tmp_path / 'work_dirs').exists()


def test_advice_says_what_does_not_reach_the_student():
    links = dict(loss_a=dict(loss='FeatureL2Loss'))
    cfg = Config(dict(model=dict(loss_kd=dict(loss_weight=2.), distiller=dict(links=links))))
    lines = advice({'model.loss_kd': Pull(1., 4., 2.), 'model.loss_mse': Pull(1., 0., 0.),
                    'model.distiller.links.loss_a.loss': Pull(1., 4., 2.),
                    'fcfd.loss_kd': Pull(1., 4., 2.)}, cfg)
    assert lines == [
        "model.loss_kd: times 0.5 would be the size of the task's: "
        '--cfg-options model.loss_kd.loss_weight=1',
        'model.loss_mse: gives the student no gradient where the task does',
        "model.distiller.links.loss_a.loss: times 0.5 would be the size of the task's: "
        "write loss=dict(type='FeatureL2Loss', loss_weight=0.5)"]
