"""Every config trains one step and predicts. New ones are found, not listed."""
import math

import pytest
import torch
import yaml
from mmengine.registry import HOOKS

from .tiny import CONFIGS, build_model, build_optimizer, load, recipes, tiny_batch, tiny_size


def parameters():
    """All recipes; in `make quick` the demo's and one CIFAR recipe of each folder."""
    met = set()
    for path in recipes():
        name = str(path.relative_to(CONFIGS))
        quick = name.startswith('demo') or 'cifar' in path.name and path.parent not in met
        if quick:
            met.add(path.parent)
        yield pytest.param(name, id=name[:-3], marks=() if quick else pytest.mark.train)


@pytest.mark.parametrize('name', list(parameters()))
def test_one_step_and_one_prediction(name):
    torch.manual_seed(0)
    config = load(name)
    model = build_model(config)
    optimizer = build_optimizer(config, model)
    for hook in config.get('custom_hooks', []):
        HOOKS.build(hook)
    size = tiny_size(config)

    reached = set()
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.register_hook(lambda _, n=parameter_name: reached.add(n))
    trained = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    model.train()
    logged = model.train_step(tiny_batch(config, size), optimizer)
    assert all(math.isfinite(value) for value in logged.values()), logged
    if hasattr(model, 'student'):
        assert any(key.startswith('student.') for key in logged), logged
    for link in getattr(getattr(model, 'distiller', None), 'links', []):
        assert logged[f'distill.{link.name}'] > 0
    # What gets no gradient would stop DistributedDataParallel.
    if not config.get('find_unused_parameters', False):
        assert sorted(trained.keys() - reached) == []
    assert any(not torch.equal(p, trained[n]) for n, p in model.named_parameters() if n in trained)

    model.eval()
    predictions = model.val_step(tiny_batch(config, size))
    assert len(predictions) == 2
    for prediction in predictions:
        assert torch.isfinite(predicted(prediction, config.default_scope)).all()


def predicted(sample, library):
    """What a model of the library writes into a data sample."""
    if library == 'mmpretrain':
        return sample.pred_score
    if library == 'mmdet':
        return sample.pred_instances.scores
    return sample.seg_logits.data


@pytest.mark.parametrize('metafile', sorted(CONFIGS.rglob('metafile.yml')),
                         ids=lambda path: str(path.relative_to(CONFIGS)))
def test_metafile_names_configs_that_exist(metafile):
    models = yaml.safe_load(metafile.read_text())['Models']
    assert [model['Name'] for model in models] == [
        (CONFIGS.parent / model['Config']).resolve(strict=True).stem for model in models]
