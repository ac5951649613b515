"""Not skipped where there is no GPU: `make test-gpu` asked for one."""
import pytest
import torch


@pytest.fixture(autouse=True, scope='session')
def gpu():
    assert torch.cuda.is_available(), 'torch sees no GPU'
