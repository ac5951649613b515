"""FCFD's classification recipes: an iteration and optimizer steps, as the authors' code has them.

The recipes are built as they are and get the formula's weights, so what is compared includes their
temperatures, weights, stages, ramp and optimizer. All paths are drawn in the first iteration.
"""
from types import SimpleNamespace

import pytest
import torch
from mmrazor.registry import HOOKS

from tests.configs.tiny import build_optimizer

from .fcfd_recipe import RECIPES, Recipe
from .formula import STEPS, unequal_numbers

pytestmark = pytest.mark.train


@pytest.mark.parametrize('name', RECIPES)
def test_an_iteration(name):
    recipe = Recipe(name)
    oracle, model = recipe.oracle, recipe.model
    candidates = [path.name for path in model.sampler.candidates]
    assert sorted(candidates) == sorted(oracle['paths'])
    model.teacher.requires_grad_()  # a gradient that reaches it would be seen
    found = recipe.losses(recipe.seed, candidates)
    total, _ = model.parse_losses(found)
    total.backward()

    wrong = dict(
        terms=unequal_numbers({key: value.item() for key, value in found.items()
                               if 'loss' in key}, recipe.theirs()),
        total=unequal_numbers(dict(total=total.item()), dict(total=float(oracle['total']))),
        student=recipe.wrong('grad_names', 'grad',
                             recipe.of_network('student', lambda value: value.grad)),
        teacher=[key for key, value in model.teacher.named_parameters() if value.grad is not None],
        bridges=recipe.wrong('bridge_names', 'bridge_grad',
                             recipe.of_bridge(lambda value: value.grad)),
        statistics_student=recipe.wrong('student_stat_names', 'student_stats',
                                        recipe.of_network('student')),
        statistics_teacher=recipe.wrong('teacher_stat_names', 'teacher_stats',
                                        recipe.of_network('teacher')),
        statistics_bridges=recipe.wrong('bridge_stat_names', 'bridge_stats',
                                        recipe.of_bridge(lambda value: value)),
        statistics_paths=recipe.wrong('path_stat_names', 'path_stats', recipe.of_path))
    assert {kind: differences for kind, differences in wrong.items() if differences} == {}


def test_the_total_follows_the_ramp():
    """Of the MSE terms, in epochs 0, 7 and 30; one recipe, as all CIFAR recipes share the hook."""
    recipe = Recipe('resnet32x4_resnet8x4_1xb64_cifar100')
    hook, = (HOOKS.build(hook) for hook in recipe.config.custom_hooks)
    runner = SimpleNamespace(
        model=recipe.model, hooks=[hook], train_loop=None, epoch=0,
        max_epochs=recipe.config.train_cfg.max_epochs,
        message_hub=SimpleNamespace(update_scalar=lambda *_: None))
    hook.before_train(runner)
    totals = {}
    for key in recipe.oracle:
        if key.startswith('total/'):
            runner.epoch = int(key[6:])
            hook.before_train_iter(runner, 0)
            with torch.no_grad():
                totals[key] = recipe.model.parse_losses(
                    recipe.losses(recipe.seed, recipe.oracle['paths']))[0].item()
    assert sorted(totals) == ['total/0', 'total/30', 'total/7']
    assert unequal_numbers(totals, {key: float(recipe.oracle[key]) for key in totals}) == []


@pytest.mark.parametrize('name', RECIPES)
def test_optimizer_steps(name):
    recipe = Recipe(name)
    oracle, model = recipe.oracle, recipe.model
    with torch.no_grad():  # the iteration of the test above, for the statistics
        recipe.losses(recipe.seed, oracle['paths'])
    optimizer = build_optimizer(recipe.config, model)
    losses = {}
    for step, drawn in enumerate(oracle['drawn']):
        loss, _ = model.parse_losses(recipe.losses(recipe.seed + 10 + step, drawn))
        losses[step] = loss.item()
        optimizer.update_params(loss)
    wrong = dict(
        losses=unequal_numbers(losses, dict(enumerate(oracle['step_totals'])), STEPS),
        student=recipe.wrong('after_names', 'after', recipe.of_network('student'), rtol=STEPS),
        bridges=recipe.wrong('bridge_after_names', 'bridge_after',
                             recipe.of_bridge(lambda value: value), rtol=STEPS))
    assert {kind: differences for kind, differences in wrong.items() if differences} == {}
