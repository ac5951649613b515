"""A training step under torch.compile, as mmengine's ``compile`` does it, computes the same."""
import pytest
import torch
from torch._dynamo.utils import counters

from mmdistill_ext.errors import ConfigError

from .two_ranks import assert_moved_alike, optimizer, part, ready, tell, trained

pytestmark = [pytest.mark.train, pytest.mark.usefixtures('no_graph_is_remembered')]
# Its compiler leaves out hooks, and fails in mmengine's stack_batch.
OLD = torch.__version__ < '2.2'
BACKENDS = ['aot_eager', pytest.param('inductor', marks=pytest.mark.nightly)]


def trained_a_little(model, name):
    optim, logs = optimizer(model), []
    for step in range(2 if 'cls' in name else 1):  # of the others the tracing takes long
        tell(step)
        torch.manual_seed(step)
        logs.append(model.train_step(part(name), optim))
    return logs


@pytest.mark.skipif(not OLD, reason='hooks are compiled since')
@pytest.mark.parametrize('name', ['mlp cls', 'tffd cls'])
def test_a_compiler_that_leaves_out_hooks_stops_the_first_step(name):
    model = ready(name)
    model.student.forward = torch.compile(model.student.forward, backend='aot_eager')
    with pytest.raises(ConfigError, match='ran 0 times in this training step'):
        model.train_step(part(name), optimizer(model))


@pytest.mark.skipif(OLD, reason='refused, see above')
@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('what', ['train_step', 'student'])
@pytest.mark.parametrize('name', ['mlp cls', 'mlp det', 'mlp seg', 'fcfd cls', 'tffd cls'])
def test_losses_and_weights_are_those_of_the_plain_run(name, what, backend):
    plain, compiled = ready(name), ready(name)
    before = trained(plain)
    if what == 'train_step':  # mmengine's Runner
        compiled.train_step = torch.compile(compiled.train_step, backend=backend)
    else:
        compiled.student.forward = torch.compile(compiled.student.forward, backend=backend)
    for log, expected in zip(trained_a_little(compiled, name),
                             trained_a_little(plain, name)):
        assert log.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(log[key], value, rtol=1e-4, atol=1e-6, msg=key)
    assert counters['stats']['unique_graphs'] > 0
    assert_moved_alike(trained(compiled), trained(plain), before)
