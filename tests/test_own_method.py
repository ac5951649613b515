"""docs/own_method.md: its code fits in 60 lines, trains, and computes what its equation says."""
import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmrazor.registry import MODELS

from .small import batch, build, model_config

PAGE = (Path(__file__).parents[1] / 'docs/own_method.md').read_text()
METHOD, CONFIG, TEST = re.findall(r'^```python\n(.*?)^```', PAGE, re.M | re.S)


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A folder with what the page says to write, and the page's module imported from there."""
    (tmp_path / 'my_method.py').write_text(METHOD)
    student = {key: value for key, value in model_config('det', 8).items() if key != '_scope_'}
    Config(dict(default_scope='mmdet', model=student)).dump(tmp_path / 'my_student.py')
    (tmp_path / 'my_distilled.py').write_text(CONFIG)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path, importlib.import_module('my_method')
    for name in ('CorrelationLoss', 'ConvNormConnector'):
        MODELS.module_dict.pop(name)
    sys.modules.pop('my_method')


def test_lines():
    lines = [line for block in (METHOD, CONFIG) for line in block.splitlines() if line.strip()]
    assert len(lines) < 60
    assert f'{len(lines)} lines together' in PAGE


def test_the_pages_own_test(page):
    names = {}
    exec(TEST, names)
    torch.manual_seed(0)
    names['test_correlation_loss_is_the_equation']()


def test_a_step_is_the_equation(page):
    """The logged loss is the page's equation of what both necks gave in that very step."""
    folder, _ = page
    torch.manual_seed(0)
    config = Config.fromfile(folder / 'my_distilled.py').model
    assert config.pop('teacher_ckpt') == 'my_teacher.pth'
    model = build(dict(config, teacher=model_config('det', 16), random_teacher=True))
    given = {}
    for side in ('student', 'teacher'):
        getattr(model, side).neck.register_forward_hook(
            lambda module, _, maps, side=side: given.update({side: maps}),
            prepend=True)  # the teacher's forward ends in a later hook
    assert len(model.distiller.levels[model.distiller.links[0].name]) == 5
    bridged = []
    for module in model.distiller.modules():
        if type(module).__name__ == 'ConvNormConnector':
            module.register_forward_hook(lambda _, fed, out: bridged.append((fed[0], out)))
    optimizer = build_optim_wrapper(model, dict(optimizer=dict(type='SGD', lr=.1)))
    before = {name: value.clone() for name, value in model.distiller.named_parameters()}
    model.train()
    logged = model.train_step(batch('det', size=128), optimizer)['distill.loss_correlation']

    expected = 0.
    for (fed, out), own, teacher in zip(bridged, given['student'], given['teacher']):
        assert fed is own
        for n in range(2):
            for c in range(out.shape[1]):
                s, t = (maps[n, c].detach().double().numpy().ravel() for maps in (out, teacher))
                s, t = s - s.mean(), t - t.mean()
                norms = np.sqrt((s * s).sum() * (t * t).sum())
                r = (s * t).sum() / norms if norms else 0.  # the coarsest map is one pixel
                expected += 3. * (1 - r) / (2 * out.shape[1])
    assert logged.item() == pytest.approx(expected, rel=1e-5)
    moved = [name for name, value in model.distiller.named_parameters()
             if not torch.equal(value, before[name])]
    assert moved and all(name.endswith('weight') or name.endswith('bias') for name in moved)
