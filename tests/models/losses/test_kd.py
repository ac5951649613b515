"""KL and DKD against loops over samples and classes."""
import math

import pytest
import torch
from mmrazor.registry import MODELS

import mmdistill_ext  # noqa: F401
from mmdistill_ext.models.losses.kd import decoupled_kl, kl_divergence


def logits(seed, scale=3.):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 6, generator=generator, dtype=torch.double) * scale


def probabilities(row, tau):
    exp = [math.exp(value / tau) for value in row.tolist()]
    return [value / sum(exp) for value in exp]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q))


def reference_kl(student, teacher, tau):
    return tau**2 * sum(kl(probabilities(t, tau), probabilities(s, tau))
                        for s, t in zip(student, teacher)) / len(student)


def reference_dkd(student, teacher, labels, tau, alpha, beta):
    total = 0
    for s, t, label in zip(student, teacher, labels.tolist()):
        p_s, p_t = probabilities(s, tau), probabilities(t, tau)
        total += alpha * kl([p_t[label], 1 - p_t[label]], [p_s[label], 1 - p_s[label]])
        others = [c for c in range(len(p_s)) if c != label]
        total += beta * kl([p_t[c] / (1 - p_t[label]) for c in others],
                           [p_s[c] / (1 - p_s[label]) for c in others])
    return tau**2 * total / len(student)


@pytest.mark.parametrize('tau', [1, 4, 8])
def test_kl_is_the_equation_and_mmrazors(tau):
    student, teacher = logits(0), logits(1)
    expected = reference_kl(student, teacher, tau)
    assert kl_divergence(student, teacher, tau).item() == pytest.approx(expected, rel=1e-12)
    theirs = MODELS.build(dict(type='KLDivergence', tau=tau, loss_weight=0.2))
    assert theirs(student, teacher).item() == pytest.approx(0.2 * expected, rel=1e-12)


@pytest.mark.parametrize('tau, alpha, beta', [(1, 1, 2), (4, 1, 8), (8, 0.5, 2), (4, 1, 0)])
def test_dkd_is_the_equation(tau, alpha, beta):
    student, teacher = logits(0), logits(1)
    labels = torch.tensor([0, 3, 5, 3])
    expected = reference_dkd(student, teacher, labels, tau, alpha, beta)
    assert decoupled_kl(student, teacher, labels, tau, alpha, beta).item() == \
        pytest.approx(expected, rel=1e-12)
    loss = MODELS.build(dict(type='DecoupledKLLoss', tau=tau, tckd_weight=alpha,
                             nckd_weight=beta, loss_weight=3))
    assert loss(student, teacher, gt_labels=labels).item() == pytest.approx(3 * expected, rel=1e-12)


def test_dkd_with_the_weights_of_kl_is_kl():
    """KL = TCKD + (1 - p_t) NCKD, for one sample."""
    student, teacher, labels = logits(2)[:1], logits(3)[:1], torch.tensor([2])
    others = 1 - teacher.softmax(1)[0, 2].item()
    assert decoupled_kl(student, teacher, labels, 1, 1, others).item() == \
        pytest.approx(kl_divergence(student, teacher).item(), rel=1e-12)


def test_gradients_are_derivatives_and_stay_with_the_student():
    student, teacher = logits(0).requires_grad_(), logits(1).requires_grad_()
    labels = torch.tensor([0, 3, 5, 3])
    assert torch.autograd.gradcheck(
        lambda s: decoupled_kl(s, teacher.detach(), labels, 4, 1, 2), student)
    MODELS.build(dict(type='DecoupledKLLoss'))(student, teacher, labels).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_sure_networks_give_finite_losses():
    student, teacher = logits(0, 300.).float().requires_grad_(), logits(1, 300.).float()
    loss = decoupled_kl(student, teacher, torch.tensor([0, 3, 5, 3]), 1, 1, 2)
    loss.backward()
    assert loss.isfinite() and student.grad.isfinite().all()
