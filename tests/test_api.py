"""docs/api.md lists what is public: each name can be imported, and nothing public is missing."""
import importlib
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / 'docs/api.md').read_text()
ROWS = dict(re.findall(r'^\| `(mmdistill_ext[\w.]+)` \| (.*) \|$', PAGE, re.M))


@pytest.mark.parametrize('module', ROWS)
def test_the_page_is_what_the_module_says(module):
    names = re.findall(r'`(\w+)`', ROWS[module])
    there = importlib.import_module(module)
    assert sorted(names) == sorted(there.__all__)
    assert all(hasattr(there, name) for name in names)


def test_every_module_that_says_what_is_public_is_on_the_page():
    """A module with ``__all__`` is public; a package's own list of its folders is none."""
    root = Path(__file__).parents[1]
    found = {str(file.relative_to(root).with_suffix('')).replace('/', '.')
             for file in root.glob('mmdistill_ext/**/*.py')
             if re.search(r'^__all__ = ', file.read_text(), re.M)}
    folders = {'mmdistill_ext', 'mmdistill_ext.models', 'mmdistill_ext.engine'}
    assert {name.replace('.__init__', '') for name in found} - folders == set(ROWS)


def test_every_room_with_registered_classes_is_on_the_page():
    """A class that a config can name has a module on the page."""
    from mmengine.registry import MODELS as ROOT
    from mmrazor.registry import HOOKS, MODELS
    public = {name for line in ROWS.values() for name in re.findall(r'`(\w+)`', line)}
    own = {kind.__name__ for registry in (ROOT, MODELS, HOOKS)
           for kind in registry.module_dict.values()
           if getattr(kind, '__module__', '').startswith('mmdistill_ext.')}
    assert own and own <= public, own - public
