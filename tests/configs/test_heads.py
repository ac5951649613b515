"""What each recipe says of itself at its head."""
import re

import pytest

from tests.configs.tiny import CONFIGS

RECIPES = sorted(path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts)
COMMAND = (r'# Run, on (one|\d+) GPUs?: (python tools/train.py|tools/dist_train.sh) \\\n'
           r'#   (\S+)( \d+)?\n')


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_the_head_has_the_command_and_the_papers_figure(path):
    text = path.read_text()
    head = re.match(r'(#.*\n)+', text)[0]
    assert re.search('paper|Table', head, re.I), "the paper's figure, or that there is none"
    gpus, tool, config, count = re.search(COMMAND, head).groups()
    assert config == str(path.relative_to(CONFIGS.parent))
    named = re.search(r'_(\d+)xb\d+', path.name)
    expected = int(named[1]) if named else 8  # mmdet's 2x_coco is 8x2
    assert gpus == ('one' if expected == 1 else str(expected))
    assert (tool, count) == (('python tools/train.py', None) if expected == 1 else
                             ('tools/dist_train.sh', f' {expected}'))
