"""docs/plain_loop.md: its loops run as they stand, and the student learns in them."""
import re
from ast import literal_eval
from pathlib import Path

import pytest
import torch
import torch.distributed.fsdp

PAGE = (Path(__file__).parents[1] / 'docs/plain_loop.md').read_text()
LINK, FCFD, FSDP = re.findall(r'^```python\n(.*?)^```', PAGE, re.M | re.S)


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


@pytest.mark.train
@pytest.mark.skipif(not hasattr(torch.distributed.fsdp, 'fully_shard'), reason='PyTorch 2.6')
def test_the_first_loop_trains_with_shards(tmp_path, capsys):
    """The page's lines in the place that it names; here of one rank."""
    before = '    algorithm.train()\n'
    assert LINK.count(before) == 1
    lines = ''.join(f'    {line}\n' for line in FSDP.splitlines())
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/init', rank=0, world_size=1)
    try:
        torch.manual_seed(0)
        names: dict = {}
        exec(LINK.replace(before, before + lines), names)
        assert isinstance(names['algorithm'], torch.distributed.fsdp.FSDPModule)
        _check(names['algorithm'], capsys, 'student.loss', 'distill.loss_stage3')
    finally:
        torch.distributed.destroy_process_group()


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
