"""Every page: configs build, commands are what the tools take, links lead somewhere."""
import argparse
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS, init_default_scope

import mmdistill_ext  # noqa: F401, MMRazor's models cannot be imported without it on PyTorch 2

# isort: split
from mmrazor.models.algorithms import BaseAlgorithm

from .configs.tiny import build_model

REPO = Path(__file__).parents[1]
PAGES = [*sorted(REPO.glob('*.md')), *sorted(REPO.glob('docs/*.md')),
         *sorted(REPO.glob('configs/**/README.md')), REPO / 'tools/README.md',
         *sorted(REPO.glob('projects/**/README.md'))]
# Their code runs in tests/test_<name>.py.
ALONE = ('first_steps', 'own_method', 'plain_loop')
# Programs of others, which are not ours to test.
THEIRS = ('pip', 'pre-commit', 'mim', 'git', 'cd', 'export', 'apt-get', 'nvidia-smi', 'scontrol',
          'sbatch')


def name_of(page: Path) -> str:
    return str(page.relative_to(REPO))


def fences(language: str):
    for page in PAGES:
        for block in re.findall(rf'^ *```{language}\n(.*?)^ *```', page.read_text(), re.M | re.S):
            yield page, block


def commands(*programs: str):
    """Of the bash fences and in the text, without what they set in the environment."""
    lines = [(page, line) for page, block in fences('bash')
             for line in block.replace('\\\n', ' ').splitlines()]
    for page in PAGES:
        prose = re.sub(r'^ *```.*?^ *```', '', page.read_text(), flags=re.M | re.S)
        lines += [(page, ' '.join(span.split())) for span in
                  re.findall(r'`((?:python tools/|tools/\w+\.sh |make )[^`]+)`', prose)]
    for page, line in lines:
        words = shlex.split(line, comments=True)
        while words and re.match(r'[A-Z_]+=', words[0]):
            words.pop(0)
        if words[:1] in (['sbatch'], ['srun']):  # what they start
            words = words[next(i for i, word in enumerate(words) if word.endswith('.sh')):]
        if words and (not programs or Path(words[0]).suffix in programs or words[0] in programs):
            yield pytest.param(words, id=f'{name_of(page)}: {" ".join(words)}')


def python_blocks(config: bool):
    counts: dict = {}
    for page, block in fences('python'):
        if page.stem not in ALONE:
            counts[page] = counts.get(page, 0) + 1
            if ('custom_imports' in block) == config:
                yield pytest.param(page, block, id=f'{name_of(page)}-{counts[page] - 1}')


def build(text: str, folder: Path, **changes) -> Config:
    """Build model and hooks of a config with a random teacher; gives the config."""
    (folder / 'my_student.py').write_text(
        "_base_ = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'\n")
    (folder / 'my_teacher.py').write_text(
        "_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'\n")
    (folder / 'config.py').write_text(text.replace('my_teacher.py', f'{folder}/my_teacher.py'))
    config = Config.fromfile(folder / 'config.py')
    config.merge_from_dict(changes)
    if 'default_scope' in config:
        init_default_scope(config.default_scope)
    assert isinstance(build_model(config), BaseAlgorithm)
    for hook in config.get('custom_hooks', []):
        HOOKS.build(hook)
    return config


@pytest.mark.train  # the models are of real size
@pytest.mark.parametrize('page, block', list(python_blocks(config=True)))
def test_config_builds(page, block, tmp_path):
    build(block, tmp_path)


@pytest.mark.train
@pytest.mark.parametrize('page, block', list(python_blocks(config=False)))
def test_part_of_a_config_builds(page, block, tmp_path):
    """Lines that a page adds to its config: at the end, as a link, or as fields of the model."""
    configs = [(p, b) for p, b in fences('python') if 'custom_imports' in b]
    whole = next((b for p, b in configs if p == page), configs[0][1])  # the README's
    if 'custom_hooks =' in block:
        build(whole + block, tmp_path)
        return
    fields = eval(f'dict({block})')
    links = {name: value for name, value in fields.items() if 'student' in value}
    if not links:
        build(whole, tmp_path, model=fields)
        return
    changes = dict(distiller=dict(links=links))
    if 'TeacherFreeDistill' in whole:  # the page says so
        changes.update(type='LeanTeacherDistill', random_teacher=True, teacher=dict(
            cfg_path='mmpretrain::resnet/resnet34_8xb32_in1k.py', pretrained=False))
    build(whole, tmp_path, model=changes)


class Accepted(BaseException):
    """Raised when a tool has parsed what it was given."""


@pytest.mark.parametrize('command', list(commands('python')))
def test_tool_takes_the_arguments(command, monkeypatch):
    """The tool runs until its parser has taken everything, values and positions included."""
    assert command[1].startswith('tools/') or command[1] == '-m', command
    if command[1] == '-m':
        return
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(self, *args, **kwargs):
        parse(self, *args, **kwargs)
        raise Accepted

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse_and_stop)
    monkeypatch.setattr(sys, 'argv', command[1:])
    monkeypatch.syspath_prepend(str(REPO / command[1]).rpartition('/')[0])
    with pytest.raises(Accepted):
        runpy.run_path(str(REPO / command[1]), run_name='__main__')


@pytest.mark.parametrize('command', list(commands('make')))
def test_make_target_exists(command):
    rules = re.findall(r'^([\w-]+(?: [\w-]+)*):', (REPO / 'Makefile').read_text(), re.M)
    targets = [word for word in command[1:] if '=' not in word]
    assert set(targets) <= set(' '.join(rules).split())


@pytest.mark.parametrize('command', list(commands('.sh')))
def test_script_runs_that_config(command):
    usage = re.search(r'usage: \$0 (.*?)"', (REPO / command[0]).read_text())[1]
    words = re.findall(r'\b[A-Z_]+\b', usage.split('[')[0])
    assert len(command) > len(words), usage
    config = command[1 + words.index('CONFIG')]
    assert config.isupper() or config.startswith('my_') or (REPO / config).is_file()


def test_every_command_is_of_a_kind_that_is_tested():
    tested = ('python', 'make', '.venv/bin/python', *THEIRS)
    assert [param.id for param in commands()
            if param.values[0][0] not in tested and not param.values[0][0].endswith('.sh')] == []


def anchors(page: Path) -> set:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r'^#+ (.*)$', page.read_text(), re.M)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    """Pages, pictures, files, and the headings on them."""
    for target, anchor in re.findall(r'\]\(([^)#\s:]*)(?:#([^)]*))?\)', page.read_text()):
        file = page.parent / target if target else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f'{target}#{anchor}'


def test_every_set_up_names_a_test_for_each_algorithm():
    """Tests that exist."""
    section = (REPO / 'docs/distributed.md').read_text().split('## Training set-ups')[1]
    rows = re.findall(r'^\| (?!\|)(.*) \|$', section.split('\n## ')[0], re.M)
    code = '\n'.join(path.read_text() for path in REPO.glob('tests/**/*.py'))
    assert len(rows) > 10
    for row in rows:
        setup, *cells = row.split(' | ')
        assert len(cells) == 3, row
        for cell in cells:
            names = re.findall(r'`(test_\w+)`', cell)
            assert names or cell == 'not tested', f'{setup}: {cell}'
            assert all(f'def {name}(' in code for name in names), f'{setup}: {cell}'


def test_the_readme_lists_every_page():
    readme = (REPO / 'README.md').read_text()
    assert [path.name for path in REPO.glob('docs/*.md') if f'(docs/{path.name})' not in readme] \
        == []


@pytest.mark.parametrize('name', ['mlp', 'fcfd', 'fcfd_det_seg', 'tffd'])
def test_a_methods_page_has_equation_config_what_to_tune_and_cost(name):
    page = (REPO / f'docs/{name}.md').read_text()
    before, *sections = re.split(r'^## ', page, flags=re.M)
    assert re.search(r'^    L\w* +=|^    L +', before, re.M)
    titles = [section.split('\n')[0] for section in sections]
    order = [titles.index(title) for title in ('In a config', 'What to tune', 'What it costs')]
    assert order == sorted(order)
