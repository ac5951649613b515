"""A training step leaves the GPU busy: no line of this project waits for it."""
import warnings

import pytest
import torch

from tests.reliability.algorithms import ALGORITHMS
from tests.small import batch, build

pytestmark = pytest.mark.gpu


def step(model, data):
    total, _ = model.parse_losses(model(**model.data_preprocessor(data, True), mode='loss'))
    total.backward()


@pytest.mark.parametrize('name', ALGORITHMS)
def test_no_line_of_ours_waits(name):
    task, config = ALGORITHMS[name]
    model = build(config).cuda().train()
    step(model, batch(task, size=128))  # what is set up once
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        torch.cuda.set_sync_debug_mode('warn')
        try:
            for _ in range(3):  # of FCFD's paths each draws others
                step(model, batch(task, size=128))
        finally:
            torch.cuda.set_sync_debug_mode('default')
    waits = {f'{warning.filename}:{warning.lineno}' for warning in caught
             if 'called a synchronizing CUDA operation' in str(warning.message)}
    # What is called inside frozen() seems to come from there, so mmdet's RoI head does.
    assert [place for place in waits if 'mmdistill_ext/' in place
            and 'fcfd/input_grad.py' not in place] == []
