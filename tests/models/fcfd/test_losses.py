import pytest
import torch
from mmrazor.registry import MODELS

import mmdistill_ext  # noqa: F401
from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.fcfd.features import pooled
from mmdistill_ext.models.losses.feature_l2 import feature_mse


def feature(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.double)


@pytest.mark.parametrize('shape', [(3, 2, 4, 5), (3, 7)])
def test_mean_over_all_elements(shape):
    student, teacher = feature(0, *shape).requires_grad_(), feature(1, *shape).requires_grad_()
    total = count = 0
    for a, b in zip(student.flatten().tolist(), teacher.flatten().tolist()):
        total, count = total + (a - b)**2, count + 1
    loss = MODELS.build(dict(type='FeatureMSELoss', loss_weight=0.02))(student, teacher)
    assert loss.item() == pytest.approx(0.02 * total / count, rel=1e-12)
    loss.backward()
    assert teacher.grad is None
    assert torch.allclose(student.grad, 0.04 * (student - teacher).detach() / count)


def test_shapes_must_agree():
    with pytest.raises(ConfigError, match=r'\(3, 2, 4, 4\).*\(3, 2, 2, 2\)'):
        feature_mse(feature(0, 3, 2, 4, 4), feature(0, 3, 2, 2, 2))


def test_pooled():
    x = feature(0, 2, 3, 4, 5)
    for n in range(2):
        for c in range(3):
            values = [max(0, v) for v in x[n, c].flatten().tolist()]
            assert pooled(x)[n, c].item() == pytest.approx(sum(values) / 20, rel=1e-12)
