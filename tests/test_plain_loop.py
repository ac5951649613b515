"""docs/plain_loop.md: its loops run as they stand, and the student learns in them."""
import re
from ast import literal_eval
from pathlib import Path

import pytest
import torch

PAGE = (Path(__file__).parents[1] / 'docs/plain_loop.md').read_text()
LINK, FCFD = re.findall(r'^```python\n(.*?)^```', PAGE, re.M | re.S)


def test_the_loop_has_25_lines():
    loop = LINK[LINK.index('def train('):LINK.index('\n\n\nlink = ')]
    assert len(loop.splitlines()) <= 25


@pytest.mark.train
def test_both_loops_train(capsys):
    """The student's own loss and the distillation's fall; the frozen teacher stays as built."""
    torch.manual_seed(0)
    names: dict = {}
    exec(LINK, names)
    _check(names['algorithm'], capsys, 'student.loss', 'distill.loss_stage3')
    exec(FCFD, names)
    _check(names['algorithm'], capsys, 'student.loss', 'fcfd.loss_app_pooled')


def _check(algorithm, capsys, *losses):
    logs = [literal_eval(line.split(' ', 1)[1]) for line in capsys.readouterr().out.splitlines()
            if re.match(r'\d+ \{', line)]  # others are mmengine's, of the initialization
    assert len(logs) == 6
    for name in losses:
        assert logs[-1][name] < 0.6 * logs[0][name], (name, logs)
    assert not any(p.requires_grad or p.grad is not None for p in algorithm.teacher.parameters())
    assert all(p.grad is not None for p in algorithm.architecture.parameters())
    weights = {f'teacher.{name}' for name, _ in algorithm.teacher.named_parameters()}
    assert weights and not weights & set(algorithm.state_dict())
