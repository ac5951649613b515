"""Salience channel by channel."""
import numpy as np
import pytest
import torch

from mmdistill_ext.analysis import salience
from mmdistill_ext.errors import ConfigError
from tests.small import batch, build, model_config

LAYERS = ['backbone.layer3', 'backbone.layer4']


def test_norms_and_halves_by_hand(tmp_path):
    torch.manual_seed(0)
    model = build(model_config('cls')).eval()
    data = [batch('cls'), batch('cls', images=1)]
    found = salience.measure(model, LAYERS, data)
    maps = []
    hook = model.backbone.layer3.register_forward_hook(lambda _, __, out: maps.append(out))
    with torch.no_grad():
        for each in data:
            model(**model.data_preprocessor(each, False))
    hook.remove()
    maps = torch.cat(maps)
    norms = [[sum(x * x for x in maps[n, c].double().flatten().tolist())**.5 for c in range(32)]
             for n in range(3)]
    assert found['backbone.layer3'][0] == pytest.approx(np.mean(norms, 0), rel=1e-5)
    halves = np.mean([[sum(y > x for y in row) < 16 for x in row] for row in norms], 0)
    assert found['backbone.layer3'][1].tolist() == pytest.approx(halves.tolist())

    rows = salience.table(dict(a=found)).rows
    assert len(rows) == 32 + 64 and sorted(row[4] for row in rows[:32]) == list(range(32))
    assert max(rows[:32], key=lambda row: row[3])[4] == 0
    same, turned = salience.summary({'a': found, 'b': {
        layer: -both for layer, both in found.items()}}).rows[::2]
    assert same[3] == pytest.approx(1) and turned[3] == pytest.approx(-1)
    salience.draw(dict(a=found, b=found), tmp_path / 'salience.png')
    assert (tmp_path / 'salience.png').read_bytes()[1:4] == b'PNG'


def test_weak_half_by_strong_half():
    assert salience.weak_share(np.array([3., 1., 8., 2., 4.])) == (1 + 2) / (4 + 8)


def test_layers():
    model = build(model_config('cls'))
    assert salience.layers_of(model, []) == [f'backbone.layer{k}' for k in (1, 2, 3, 4)]
    with pytest.raises(ConfigError, match="no module 'backbone.layer9'; did you mean"):
        salience.measure(model, ['backbone.layer9'], [])
    with pytest.raises(ConfigError, match=r"--layers: 'head.fc' gives \[2, \d+\], not a feature"):
        salience.measure(model, ['head.fc'], [batch('cls')])
