"""configs/cwd: RTMDet as mmyolo distilled its own."""
from types import SimpleNamespace

import pytest
import torch
import yaml
from mmengine.hub import get_config
from mmengine.registry import HOOKS, init_default_scope

from .tiny import CONFIGS, build_model, load, tiny_batch, without_scope

NAME = 'cwd/det/cwd_neck_rtmdet_s_rtmdet_tiny_8xb32-300e_coco.py'
TINY, SMALL = (f'mmdet::rtmdet/rtmdet_{size}_8xb32-300e_coco.py' for size in ('tiny', 's'))


@pytest.fixture(scope='module')
def config():
    return load(NAME)


def test_models_and_checkpoint_are_the_zoos(config):
    assert config.model.architecture == dict(cfg_path=TINY, pretrained=False)
    assert config.model.teacher == dict(cfg_path=SMALL, pretrained=False)
    assert config.model.teacher_ckpt == get_config(SMALL, pretrained=True).model_path


def test_it_is_trained_as_the_student_alone(config):
    alone = get_config(TINY)
    for key in ('train_dataloader', 'optim_wrapper', 'param_scheduler', 'train_cfg'):
        assert without_scope(config[key]) == without_scope(alone[key]), key
    *hooks, stop = config.custom_hooks
    assert without_scope(hooks) == without_scope(alone.custom_hooks)
    assert stop == dict(type='mmrazor.StopDistillHook', stop_epoch=config.train_cfg.max_epochs - 20)


def reference(student, teacher):
    """From the equation, in double precision: KL over the positions of a channel, mean of them."""
    student, teacher = (x.double() for x in (student, teacher))

    def distribution(x):
        mean = x.mean((0, 2, 3), keepdim=True)
        variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
        flat = ((x - mean) / (variance + 1e-5).sqrt()).flatten(2)
        return flat - flat.exp().sum(2, keepdim=True).log()

    p, q = distribution(teacher), distribution(student)
    return (p.exp() * (p - q)).sum(2).mean()


@pytest.mark.train
def test_the_loss_is_cwd_of_normalised_necks_until_the_hook_ends_it(config):
    init_default_scope(config.default_scope)
    torch.manual_seed(0)
    model = build_model(config).train()
    seen = {}
    for side in ('student', 'teacher'):
        for i in range(3):
            getattr(model, side).neck.out_convs[i].conv.register_forward_hook(
                lambda _, __, out, key=(side, i): seen.update({key: out.detach()}),
                prepend=True)  # the teacher's forward ends after the last
    data = model.data_preprocessor(tiny_batch(config, 128), True)
    losses = model(**data, mode='loss')
    assert not any(p.grad is not None for p in model.teacher.parameters())
    for i in range(3):
        connector = model.distiller.connectors[f'out{i}_s'].conv_module.conv
        expected = reference(connector(seen['student', i]), seen['teacher', i])
        torch.testing.assert_close(losses[f'distill.loss_out{i}'].double(), expected,
                                   rtol=1e-4, atol=1e-6)
    stop = HOOKS.build(config.custom_hooks[-1])
    for epoch in (279, 280):
        stop.before_train_epoch(SimpleNamespace(
            epoch=epoch, model=model, logger=SimpleNamespace(info=lambda _: None)))
        losses = model(**data, mode='loss')
        assert any(name.startswith('distill.') for name in losses) == (epoch == 279)


def test_readme_and_metafile_list_it(config):
    assert f'({NAME[len("cwd/"):]})' in (CONFIGS / 'cwd/README.md').read_text()
    entry, = yaml.safe_load((CONFIGS / 'cwd/metafile.yml').read_text())['Models']
    assert entry['Config'] == f'configs/{NAME}'
    assert entry['Metadata']['Teacher']['Config'] == SMALL
    assert entry['Metadata']['Teacher']['Weights'] == config.model.teacher_ckpt
    assert entry['Metadata']['Student']['Config'] == TINY
