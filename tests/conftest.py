"""Shared by all tests. Set before torch is imported: tiny tensors gain nothing from threads."""
import os

os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('MPLBACKEND', 'Agg')

import pytest  # noqa: E402

import mmdistill_ext  # noqa: E402, F401, before any test imports MMRazor's models


@pytest.fixture(autouse=True)
def no_runner_is_remembered():
    """mmengine's default scope and message hub are global: no test leaves one to the next.

    Nor does a fixture of a module, which has run before.
    """
    yield
    from mmengine.logging import MessageHub
    from mmengine.registry import DefaultScope
    for kind in (DefaultScope, MessageHub):
        kind._instance_dict.clear()


@pytest.fixture
def no_graph_is_remembered():
    """What torch.compile has traced, and counted, is of this test alone."""
    import torch
    from torch._dynamo.utils import counters
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture
def log(caplog):
    """What mmengine's logger says, which pytest does not see by itself."""
    from mmengine.logging import MMLogger
    logger = MMLogger.get_current_instance()  # to which print_log writes
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
