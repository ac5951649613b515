"""Tf-FD on CIFAR-100: `released` as the authors' script has it, `paper` by its equations."""
import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample
from mmrazor.registry import MODELS

from mmdistill_ext.models.backbones.repdistiller_keys import convert, public_tensors
from mmdistill_ext.models.losses import TfFDInterLoss, TfFDIntraLoss
from tests.configs.tiny import CONFIGS, load
from tests.models.losses.test_tffd import reference_inter, reference_intra

from .formula import (
    DATA,
    TERMS,
    images_of,
    labels_of,
    shapes_of,
    tensor_of,
    unequal_numbers,
    unequal_tensors,
)

ORACLE = dict(np.load(DATA / 'tffd.npz'))
SEEDS = (0, 1)
NAME = 'resnet20'


def recipe():
    """The file of the released form, without a variant's word."""
    found = [path for path in CONFIGS.glob(f'tffd/cls/tffd_{NAME}_*cifar100.py')
             if 'paper' not in path.name]
    assert len(found) == 1
    return found[0]


def algorithm_of(seed):
    """The recipe's model in float64 with the oracle's weights."""
    model = MODELS.build(load(recipe()).model)
    shapes = shapes_of(ORACLE['names'], ORACLE['shapes'])
    _, state = convert({key: tensor_of(f'student.{key}', shape, seed)
                        for key, shape in shapes.items()}, NAME)
    model.student.load_state_dict(state)
    return model.double().train()


def batch(seed):
    return images_of(seed, (4, 3, 32, 32)), [
        DataSample().set_gt_label(label) for label in labels_of(seed, 4, 100)]


@pytest.mark.parametrize('seed', SEEDS)
def test_released(seed):
    """The recipe's terms, weighted, and their gradient."""
    model = algorithm_of(seed)
    found = {key: value for key, value in model(*batch(seed), mode='loss').items()
             if 'loss' in key}
    task = found.pop('student.loss')
    terms = {kind: sum(value for key, value in found.items() if kind in key)
             for kind in ('inter', 'intra')}
    assert len(found) == 2
    sum(found.values()).backward()

    def expected(kind):
        return float(ORACLE[f'{seed}/weighted/{kind}'])

    gradients = {key: value.grad for key, value in model.student.named_parameters()}
    wrong = dict(
        terms=unequal_numbers(
            dict(task=task.item(), **{kind: value.item() for kind, value in terms.items()}),
            dict(task=expected('ce'), **{kind: expected(f'script_{kind}') for kind in terms})),
        gradients=unequal_tensors(
            ORACLE[f'{seed}/script_grad_names'], ORACLE[f'{seed}/script_grad'],
            lambda name: gradients[public_tensors(NAME)[name][0]]))
    assert {kind: differences for kind, differences in wrong.items() if differences} == {}


@pytest.mark.train
def test_paper():
    """On the features of the same network; the authors have published no code of it."""
    model, features = algorithm_of(seed=0), []
    for stage in (1, 2, 3):
        model.student.get_submodule(f'backbone.layer{stage}').register_forward_hook(
            lambda _, __, output: features.append(output))
    with torch.no_grad():
        model.student(batch(seed=0)[0], mode='tensor')
    for loss, reference in ((TfFDIntraLoss, reference_intra), (TfFDInterLoss, reference_inter)):
        assert float(loss(form='paper')(features)) == pytest.approx(reference(features), rel=TERMS)


@pytest.mark.parametrize('seed', SEEDS)
def test_their_readme_has_other_sizes_than_their_script(seed):
    """Sums for means (three pairs, three layers), and one weight for both (docs/fidelity.md)."""
    ratio = {kind: float(ORACLE[f'{seed}/weighted/readme_{kind}']
                         / ORACLE[f'{seed}/weighted/script_{kind}']) for kind in ('intra', 'inter')}
    assert ratio == pytest.approx(dict(intra=3, inter=3 * 8 / 5), rel=TERMS)
