"""Overlap counted by hand, features pooled by hand."""
import numpy as np
import pytest
import torch

from mmdistill_ext.analysis import tsne
from mmdistill_ext.analysis.pairs import pairs
from tests.small import batch

from .test_distances import linked


def test_neighbours_of_the_other_network_counted_one_by_one():
    points = np.random.default_rng(0).normal(size=(24, 2))
    expected = []
    for i, point in enumerate(points):
        others = sorted((j for j in range(24) if j != i),
                        key=lambda j: ((points[j] - point)**2).sum())
        expected.append(sum((j < 12) != (i < 12) for j in others[:10]))
    assert tsne.other_neighbours(points).tolist() == expected


def test_networks_apart_and_networks_alike(tmp_path):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20, 5)).astype(np.float32)
    apart = tsne.embed('apart', np.stack([features, features + 100]))
    alike = tsne.embed('alike', np.stack([features, features + 1e-3]))
    assert apart.overlap.mean() == 0 and alike.overlap.mean() > .9
    table = tsne.table([apart, alike])
    assert len(table.rows) == 2 * 2 * 20 and table.rows[0][:3] == ['apart', 'teacher', 0]
    assert table.rows[20][:3] == ['apart', 'student', 0]
    tsne.draw([apart, alike], tmp_path / 'tsne.png')
    assert (tmp_path / 'tsne.png').read_bytes()[1:4] == b'PNG'


def test_features_are_means_over_the_map():
    algorithm = linked('cls', width=4, connector='MLPConnector')
    data = [batch('cls'), batch('cls', images=1)]
    found = tsne.features(algorithm, data)['loss_f']
    pair, = pairs(algorithm, data[0])
    assert found.shape == (2, 3, 64)
    assert found[0, :2] == pytest.approx(pair.teacher.mean((2, 3)).numpy(), rel=1e-5, abs=1e-6)
    assert found[1, :2] == pytest.approx(pair.bridged.mean((2, 3)).numpy(), rel=1e-5, abs=1e-6)
    assert torch.is_grad_enabled()
