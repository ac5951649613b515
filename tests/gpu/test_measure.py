"""What the bench measures on a GPU, on steps whose cost is known by hand."""
import pytest
import torch

from mmdistill_ext.analysis.measure import peak_bytes, profiled

pytestmark = pytest.mark.gpu
MB = 2**20


def test_the_peak_is_what_a_step_needs_beside_what_is_there():
    kept = torch.ones(8 * MB, device='cuda')

    def step():
        twice = kept + kept  # 32 MB
        return twice.square().sum()  # 32 MB more

    assert peak_bytes(step) == pytest.approx(64 * MB, rel=.01)


def test_an_operators_seconds_are_its_kernels():
    a = torch.randn(2048, 2048, device='cuda')
    torch.mm(a, a)
    operators, kernels = profiled(lambda: (a @ a).exp())
    assert operators['aten::mm'] > 0 and operators['aten::exp'] > 0
    assert sum(operators.values()) == pytest.approx(kernels, rel=.01)
