"""docs/plain_loop.md: its loops run as they stand, and the student learns in them."""
import re
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
    _check(names['algorithm'], capsys, 'student.loss', 'distill.loss_app_3')


def _check(algorithm, capsys, *losses):
    logs = [eval(line.split(' ', 1)[1]) for line in capsys.readouterr().out.splitlines()]
    assert len(logs) == 6
    for name in losses:
        assert logs[-1][name] < 0.6 * logs[0][name], (name, logs)
    assert not any(p.requires_grad or p.grad is not None for p in algorithm.teacher.parameters())
    assert all(p.grad is not None for p in algorithm.architecture.parameters())
    assert not any(key.startswith('teacher') for key in algorithm.state_dict())
