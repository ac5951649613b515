"""MMRazor's DKD in the study against loops: no size of a batch in its weight."""
import math
from pathlib import Path

import pytest
import torch
from mmrazor.registry import MODELS

import mmdistill_ext  # noqa: F401
from projects.study.real_rows import Run, config_of
from projects.study.rows_cls import CLS

TAU = 4.


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q))


def dkd(student, teacher, label):
    """One sample: target against all others, and twice the others among each other."""
    def softmax(logits):
        powers = [math.exp(x / TAU) for x in logits]
        return [power / sum(powers) for power in powers]

    s, t = softmax(student), softmax(teacher)
    target = kl((t[label], 1 - t[label]), (s[label], 1 - s[label]))
    others = kl(*([x / (1 - p[label]) for i, x in enumerate(p) if i != label] for p in (t, s)))
    return TAU**2 * (target + 2 * others)


@pytest.mark.parametrize('config', [
    lambda: config_of(Run('dkd', 0), Path('work_dirs')).model,
    lambda: CLS.rows['dkd'].changes(1.)['model']], ids=['cifar100', 'embedded'])
@pytest.mark.parametrize('batch', [1, 5])
def test_the_mean_over_the_batch(config, batch):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, batch, 7, dtype=torch.float64) * 3
    labels = torch.randint(7, (batch,))
    loss = MODELS.build(config()['distiller']['distill_losses']['loss_dkd'])
    expected = sum(dkd(s, t, i) for s, t, i in zip(
        student.tolist(), teacher.tolist(), labels.tolist())) / batch
    found = loss(student, teacher, labels).item()
    assert found == pytest.approx(expected, rel=1e-9)
