"""Modules found by name once: never one that was replaced, whoever replaced it."""
import copy

from mmengine.model import convert_sync_batchnorm
from torch import nn

from mmdistill_ext.models.utils.found_modules import FoundModules, every_module


def network():
    return nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.BatchNorm2d(4))


def test_what_was_replaced_is_found_anew():
    model = network()
    found = FoundModules(model, ['0.1', '', '1'])
    assert found() == [model[0][1], model, model[1]]
    convert_sync_batchnorm(model)
    assert [type(module) for module in found()] == [
        nn.SyncBatchNorm, nn.Sequential, nn.SyncBatchNorm]
    model[0] = nn.Sequential(nn.ReLU(), nn.Tanh())  # the parent, not the module itself
    assert found() == [model[0][1], model, model[1]]


def test_a_copy_finds_its_own():
    model = network()
    every_module(model)
    other = copy.deepcopy(model)
    other[0] = nn.Sequential(nn.Tanh())  # with other children
    assert [*map(id, every_module(other)())] == [*map(id, other.modules())]
    assert [*map(id, every_module(model)())] == [*map(id, model.modules())]
    assert model.state_dict().keys() == network().state_dict().keys()
