"""README and docs: configs build, commands exist, links lead somewhere."""
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmrazor.models.algorithms import BaseAlgorithm

from .configs.tiny import build_model

REPO = Path(__file__).parents[1]
PAGES = [REPO / 'README.md', *sorted((REPO / 'docs').glob('*.md'))]


def blocks(language):
    for page in PAGES:
        found = re.findall(rf'^```{language}\n(.*?)^```', page.read_text(), re.M | re.S)
        for number, block in enumerate(found):
            yield pytest.param(block, id=f'{page.name}-{number}')


def commands():
    for page in PAGES:
        for block in re.findall(r'^```bash\n(.*?)^```', page.read_text(), re.M | re.S):
            for line in block.splitlines():
                yield pytest.param(shlex.split(line, comments=True), id=f'{page.name}: {line}')


@pytest.mark.train  # the models are of real size
@pytest.mark.parametrize('block', [
    block for block in blocks('python') if 'custom_imports' in block.values[0]])
def test_config_builds(block, tmp_path):
    """Every config on a page that registers the plugin, with a random teacher."""
    (tmp_path / 'my_student.py').write_text(
        "_base_ = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'\n")
    (tmp_path / 'config.py').write_text(block)
    config = Config.fromfile(tmp_path / 'config.py')
    if 'default_scope' in config:
        init_default_scope(config.default_scope)
    assert isinstance(build_model(config), BaseAlgorithm)


@pytest.mark.parametrize('command', [
    command for command in commands() if command.values[0][0] == 'make'])
def test_make_target_exists(command):
    rules = re.findall(r'^([\w-]+(?: [\w-]+)*):', (REPO / 'Makefile').read_text(), re.M)
    assert command[1] in ' '.join(rules).split()


@pytest.mark.train
@pytest.mark.parametrize('command', [
    command for command in commands() if command.values[0][0] == 'python'])
def test_tool_knows_the_options(command):
    """The tool says its usage, with every option that the page gives it."""
    assert command[1].startswith('tools/')
    usage = subprocess.run([sys.executable, *command[1:2], '--help'], cwd=REPO, check=True,
                           capture_output=True, text=True).stdout
    for option in command[2:]:
        if option.startswith('--'):
            assert re.search(rf'{option}\b', usage)


@pytest.mark.parametrize('command', [
    command for command in commands() if command.values[0][0].endswith('.sh')])
def test_script_runs_that_config(command):
    usage = re.search(r'usage: \$0 (.*?)"', (REPO / command[0]).read_text())[1]
    position = re.findall(r'\b[A-Z_]+\b', usage).index('CONFIG')
    assert (REPO / command[1 + position]).is_file()


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)#:]+)(?:#[^)]*)?\)', page.read_text()):
        assert (page.parent / target).exists(), target
