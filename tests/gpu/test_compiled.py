"""A compiled teacher on a GPU, with CUDA graphs and without: the losses are the plain teacher's."""
import pytest
import torch
from torch._dynamo.utils import counters

from mmdistill_ext.models.teacher.compiled import HOOKS_ARE_COMPILED
from tests.reliability.algorithms import ALGORITHMS
from tests.reliability.two_ranks import optimizer, part, tell
from tests.small import build

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures('no_graph_is_remembered'),
              pytest.mark.skipif(not HOOKS_ARE_COMPILED, reason='teacher_compile is refused')]


@pytest.fixture(autouse=True)
def in_float32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)


def logs(name, **fields):
    torch.manual_seed(0)
    model = build(dict(ALGORITHMS[name][1], **fields)).cuda().train()
    optim, found = optimizer(model), []
    for number in range(4):  # CUDA graphs are recorded in the second and replayed since
        tell(number)
        torch.manual_seed(number)
        found.append(model.train_step(part(name), optim))
    return found


@pytest.mark.parametrize('how', [True, dict(mode='reduce-overhead')], ids=str)
@pytest.mark.parametrize('name', ['mlp cls', 'mlp det', 'mlp seg', 'fcfd cls', 'fcfd retinanet'])
def test_losses_are_those_of_the_plain_teacher_by_one_graph(name, how):
    expected = logs(name)
    for log, plain in zip(logs(name, teacher_compile=how), expected):
        torch.testing.assert_close(log, plain, rtol=1e-3, atol=1e-5)
    assert counters['stats']['unique_graphs'] == 1


def test_cuda_graphs_are_recorded():
    logs('mlp cls', teacher_compile=dict(mode='reduce-overhead'))
    assert not counters['inductor']['cudagraph_skips']
