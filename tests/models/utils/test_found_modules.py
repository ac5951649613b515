"""Modules found by name once: never one that was replaced, whoever replaced it."""
import copy

import torch
from mmengine.model import convert_sync_batchnorm
from torch import nn

from mmdistill_ext.models.utils.found_modules import FoundModules, every_module, within_a_step


def network():
    return nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.BatchNorm2d(4))


def test_what_was_replaced_is_found_anew():
    model = network()
    found = every_module(model)
    convert_sync_batchnorm(model)
    assert found() == list(model.modules())
    assert [type(module) for module in found()].count(nn.SyncBatchNorm) == 2
    model[0] = nn.Sequential(nn.ReLU(), nn.Tanh())  # the parent, not the module itself
    assert found() == list(model.modules())
    model[0].append(nn.GELU())
    assert found() == list(model.modules())
    del model[0][0]
    assert found() == list(model.modules())


def test_a_module_with_two_names_is_found_at_either():
    model = network()
    model.add_module('alias', model[1])
    found = every_module(model)
    assert found() == list(model.modules())
    kept = found.kept(lambda modules: model.get_submodule('alias'))
    model.alias = nn.Tanh()  # under its second name alone
    assert found() == list(model.modules()) and found()[-1] is model.alias is not kept


def test_within_a_step_one_look_is_enough():
    model = network()
    found, calls = every_module(model), []

    def compute(modules):
        calls.append(modules)
        return len(modules())
    for _ in range(2):
        with within_a_step():
            assert [found.kept_for_step(compute) for _ in range(3)] == [5, 5, 5]
    assert len(calls) == 2
    model[1] = nn.Sequential(nn.ReLU())  # between two steps, as SyncBN and hooks do
    with within_a_step():
        assert found.kept_for_step(compute) == 6
        assert found() == list(model.modules())
    model[1] = nn.ReLU()
    assert found.kept_for_step(compute) == 5  # outside of a step each look counts


def test_parameters_that_take_a_gradient_are_asked_in_each_step():
    model = network()
    found = every_module(model)
    assert found.trainable() == list(model.parameters())
    model[0].requires_grad_(False)
    model[1].bias = nn.Parameter(model[1].bias.detach())
    with within_a_step():
        assert [*map(id, found.kept_for_step(FoundModules.trainable))] == [
            *map(id, model[1].parameters())]
    del model[1].bias  # as weight_norm does, which adds others
    model[0][1].register_parameter('gain', nn.Parameter(torch.ones(4)))
    assert [*map(id, found.trainable())] == [id(model[0][1].gain), id(model[1].weight)]


def test_a_copy_finds_its_own():
    model = network()
    every_module(model)
    other = copy.deepcopy(model)
    other[0] = nn.Sequential(nn.Tanh())  # with other children
    assert [*map(id, every_module(other)())] == [*map(id, other.modules())]
    assert [*map(id, every_module(model)())] == [*map(id, model.modules())]
    assert model.state_dict().keys() == network().state_dict().keys()


def test_a_copy_does_not_take_along_what_asked():
    """Path statistics know student and teacher: a copied student would come with its teacher."""
    class Asking:
        def __deepcopy__(self, memo):
            raise AssertionError('copied')

        def first(self, modules):
            return modules[0]
    model, asking = network(), Asking()
    assert every_module(model).kept(asking.first) == ('', model)
    other = copy.deepcopy(model)
    assert every_module(other).kept(asking.first) == ('', other)
