"""The KL to a target that is prepared once: MMRazor's loss, and its definition in loops."""
import math

import pytest
import torch
from mmrazor.models.losses import KLDivergence

from mmdistill_ext.models.fcfd.logit_target import LogitTarget, TargetKL, compare, with_targets
from mmdistill_ext.models.losses import DecoupledKLLoss
from projects.bench.operators import operators_of


def logits(seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 5, generator=generator, dtype=torch.float64).mul(3).to(dtype)


def reference(student, teacher, tau):
    total = 0.
    for s, t in zip((student / tau).tolist(), (teacher / tau).tolist()):
        norm_s, norm_t = (math.log(sum(map(math.exp, row))) for row in (s, t))
        total += sum(math.exp(b - norm_t) * (b - norm_t - a + norm_s) for a, b in zip(s, t))
    return tau**2 * total / len(student)


@pytest.mark.parametrize('tau', [1., 4.])
def test_it_is_the_definition_and_mmrazors_loss(tau):
    plain = KLDivergence(tau=tau, loss_weight=.2)
    loss, target = with_targets(plain), LogitTarget(logits(1))
    assert isinstance(loss, TargetKL)
    for seed in (2, 3):
        values = []
        for form in (lambda x: compare(loss, x, target, None), lambda x: loss(x, logits(1)),
                     lambda x: plain(x, logits(1))):
            student = logits(seed).requires_grad_()
            value = form(student)
            value.backward()
            values.append((value.detach(), student.grad))
        assert values[0][0].item() == pytest.approx(.2 * reference(logits(seed), logits(1), tau),
                                                    rel=1e-12)
        for value, grad in values[1:]:
            torch.testing.assert_close(values[0], (value, grad), rtol=1e-12, atol=1e-15)


def test_the_target_is_prepared_once():
    loss, target = with_targets(KLDivergence(tau=4)), LogitTarget(logits(1))
    counts = operators_of(lambda: [compare(loss, logits(seed), target, None) for seed in (2, 3)])
    assert counts['_softmax'] == counts['xlogy'] == 1 and counts['_log_softmax'] == 2


def test_half_precision_is_compared_in_float32():
    target = LogitTarget(logits(1, torch.bfloat16))
    value = compare(with_targets(KLDivergence()), logits(2, torch.bfloat16), target, None)
    expected = reference(logits(2, torch.bfloat16).double(), logits(1, torch.bfloat16).double(), 1)
    assert value.dtype == torch.float32 and value.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('loss', [KLDivergence(reduction='sum'), DecoupledKLLoss(),
                                  KLDivergence(teacher_detach=False)])
def test_other_losses_stay_as_they_are(loss):
    assert with_targets(loss) is loss
