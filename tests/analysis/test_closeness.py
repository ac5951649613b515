"""Linear CKA against its definition; the figures of a distillation against those of the tools."""
import math

import pytest
import torch

from mmdistill_ext.analysis.closeness import linear_cka


def reference(x, y):
    """By the definition with kernels: HSIC(XX', YY') / sqrt(HSIC(XX', XX') HSIC(YY', YY'))."""
    n = len(x)
    center = [[(1. if i == j else 0.) - 1 / n for j in range(n)] for i in range(n)]

    def product(a, b):
        return [[sum(a[i][k] * b[k][j] for k in range(len(b))) for j in range(len(b[0]))]
                for i in range(len(a))]

    def gram(z):
        rows = z.tolist()
        kernel = [[sum(p * q for p, q in zip(a, b)) for b in rows] for a in rows]
        return product(product(center, kernel), center)

    def hsic(one, other):
        return sum(p * q for a, b in zip(one, other) for p, q in zip(a, b))

    own, theirs = gram(x), gram(y)
    return hsic(own, theirs) / math.sqrt(hsic(own, own) * hsic(theirs, theirs))


def test_linear_cka_is_its_definition():
    torch.manual_seed(0)
    x, y = torch.randn(7, 3).double(), torch.randn(7, 5).double()
    assert linear_cka(x, y) == pytest.approx(reference(x, y), abs=1e-12)
    assert 0 < linear_cka(x, y) < 1


def test_it_is_one_for_a_rotation_a_scaling_and_a_shift():
    torch.manual_seed(0)
    x = torch.randn(20, 4).double()
    rotation = torch.linalg.qr(torch.randn(4, 4).double())[0]
    assert linear_cka(3 * x @ rotation + 5, x) == pytest.approx(1, abs=1e-12)
    assert math.isnan(linear_cka(torch.ones(20, 3), x))
