"""What others read of the project: the model index, the citation, pre-commit."""
import importlib.metadata
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from modelindex.load_model_index import load

import mmdistill_ext

from .configs.tiny import CONFIGS, recipes

REPO = Path(__file__).parents[1]
# As the specification of model-index and the leaderboards that read it call them.
METRICS = {
    'Image Classification': {'Top 1 Accuracy', 'Top 5 Accuracy'}, 'Object Detection': {'box AP'},
    'Instance Segmentation': {'box AP', 'mask AP'}, 'Semantic Segmentation': {'mIoU'}}
TASKS = dict(cls={'Image Classification'}, det={'Object Detection', 'Instance Segmentation'},
             seg={'Semantic Segmentation'})


@pytest.fixture(scope='module')
def index():
    return load(str(REPO / 'model-index.yml'))


def test_the_index_is_one(index):
    """By model-index's own checks: fields that must be there, READMEs that exist."""
    assert index.check(silent=True) == []
    collections = [collection.name for collection in index.collections]
    assert len(set(collections)) == len(collections)
    assert {model.in_collection for model in index.models} == set(collections)


def test_the_index_lists_every_recipe_once(index):
    listed = Counter(model.config for model in index.models)
    assert set(listed.values()) == {1}
    # tests/configs loads and trains each of them
    own = [path for path in recipes() if CONFIGS / 'demo' not in path.parents
           and CONFIGS / 'study' not in path.parents]
    assert set(listed) == {str(path.relative_to(REPO)) for path in own}
    # mim looks for a config by its file name alone
    names = Counter(path.name for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts)
    names = {path.name: names[path.name] for path in own}
    assert [name for name, count in names.items() if count > 1] == []


def test_numbers_are_the_papers_and_say_so(index):
    """No result and no checkpoint of ours: none of the recipes has been trained to the end."""
    for model in index.models:
        assert model.results is None and model.weights is None, model.name
        data = model.metadata.data
        tasks = TASKS[model.config.split('/')[2]]
        names = set().union(*(METRICS[task] for task in tasks))
        for who in ('Student', 'Teacher', 'Paper'):
            metrics = data.get(who, {}).get('Metrics', {})
            assert set(metrics) <= names, (model.name, who)
            assert all(0 < value < 100 for value in metrics.values()), (model.name, who)
        if 'Paper' in data:
            assert data['Paper']['Task'] in tasks
            assert set(data['Paper'].get('Metrics', {})) <= METRICS[data['Paper']['Task']]


def test_citation(index):
    """The version is the package's and the papers are those of the model index."""
    citation = yaml.safe_load((REPO / 'CITATION.cff').read_text())
    assert citation['version'] == mmdistill_ext.__version__
    assert f"## {citation['version']} " in (REPO / 'CHANGELOG.md').read_text()
    papers = {paper['title']: paper['url'] for paper in citation['references']}
    assert papers == {c.data['Paper']['Title']: c.data['Paper']['URL'] for c in index.collections}


def test_pre_commit_runs_what_make_lint_runs():
    """The same commands in the same environment, whose versions are the pinned ones."""
    lint = re.search(r'^lint: env\n((?:\t.*\n)+)', (REPO / 'Makefile').read_text(), re.M)[1]
    commands = [line.strip().replace('$(RUN)', '.venv/bin/python') for line in lint.splitlines()]
    repos = yaml.safe_load((REPO / '.pre-commit-config.yaml').read_text())['repos']
    assert [repo['repo'] for repo in repos] == ['local']
    hooks = [hook['entry'] for hook in repos[0]['hooks']]
    # ruff is given the changed files instead of the folder
    assert [hook.replace(' --force-exclude', ' .') for hook in hooks] == commands
    stacks = [(REPO / f'requirements/{name}.txt').read_text() for name in ('torch211', 'torch21')]
    for tool in (re.search(r'-m (\w+)', command)[1] for command in commands):
        pins = {re.search(rf'^{tool}==(.+)$', stack, re.M)[1] for stack in stacks}
        assert pins == {importlib.metadata.version(tool)}
