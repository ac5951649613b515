"""Every registered class has an example in its docstring that runs: losses and connectors show
shapes or values, hooks a config, algorithms a config that is built here."""
import doctest
import importlib
import pkgutil
from typing import Iterator

import pytest
from mmengine.config import ConfigDict
from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import TRANSFORMS
from mmrazor.registry import HOOKS, MODELS

import mmdistill_ext.datasets
import mmdistill_ext.engine
import mmdistill_ext.models

# MMRazor's models cannot be imported before mmdistill_ext on PyTorch 2.
# isort: split
from mmrazor.models.algorithms import BaseAlgorithm


def registered() -> Iterator[type]:
    """The classes of this project in all registries, also those that no ``__init__`` imports."""
    for package in (mmdistill_ext.models, mmdistill_ext.engine, mmdistill_ext.datasets):
        for module in pkgutil.walk_packages(package.__path__, f'{package.__name__}.'):
            importlib.import_module(module.name)
    found = {kind for registry in (MODELS, ROOT_MODELS, HOOKS, ROOT_HOOKS, TRANSFORMS)
             for kind in registry.module_dict.values()
             if kind.__module__.startswith('mmdistill_ext.')}
    yield from sorted(found, key=lambda kind: kind.__name__)


CLASSES = list(registered())
ALGORITHMS = [kind for kind in CLASSES if issubclass(kind, BaseAlgorithm)]
OTHERS = [kind for kind in CLASSES if kind not in ALGORITHMS]


def name_of(kind: type) -> str:
    return kind.__name__


def run(kind: type) -> doctest.DocTest:
    """Run the examples of a class's own docstring, which see only the names they import."""
    text = vars(kind).get('__doc__') or ''
    test = doctest.DocTestParser().get_doctest(text, {}, kind.__name__, None, 0)
    assert test.examples, f'{kind.__name__} has no example in its docstring'
    results = doctest.DocTestRunner().run(test, clear_globs=False)
    assert results.failed == 0
    return test


def test_all_kinds_are_found():
    """A registry that is not looked at, or a folder, would leave its classes without a test."""
    packages = {kind.__module__.rsplit('.', 1)[0] for kind in CLASSES}
    assert packages >= {f'mmdistill_ext.{name}' for name in (
        'models.algorithms', 'models.backbones', 'models.connectors', 'models.distillers',
        'models.fcfd', 'models.losses', 'engine.hooks', 'datasets')}


@pytest.mark.parametrize('kind', OTHERS, ids=name_of)
def test_example_gives_what_it_says(kind):
    assert any(example.want for example in run(kind).examples), 'the example shows no result'


@pytest.mark.train  # the models are of real size
@pytest.mark.parametrize('kind', ALGORITHMS, ids=name_of)
def test_config_in_the_docstring_builds(kind):
    config = ConfigDict(run(kind).globs['model'])
    if config.pop('teacher_ckpt', None):  # a file that the reader has
        config.random_teacher = True
    assert type(MODELS.build(config)) is kind


def test_a_class_without_example_fails():
    class Silent:
        """Says nothing."""

    class Inherits(mmdistill_ext.models.losses.FeatureL2Loss):
        pass

    class Wrong:
        """Claims what is not so.

        >>> 1 + 1
        3
        """

    for kind in (Silent, Inherits, Wrong):
        with pytest.raises(AssertionError):
            run(kind)
