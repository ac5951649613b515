"""The converted networks against the originals, computed from the public tensors alone.

No public weights can be fetched, so the tensors are random, of the public names and shapes.
"""
import argparse
import importlib.util
import json
import os
import re
import sys
from collections import OrderedDict
from pathlib import Path

import mmpretrain.models  # noqa: F401
import numpy as np
import pytest
import torch
import torchvision
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS
from torch.nn import functional as F

from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.backbones.repdistiller_keys import (
    NETWORKS,
    TORCHVISION,
    classifier_cfg,
    convert,
    public_tensors,
)

ROOT = Path(__file__).parents[2]
FACTS = json.loads((ROOT / 'tests/data/cifar_teachers.json').read_text())
spec = importlib.util.spec_from_file_location('convert', ROOT / 'tools/convert_checkpoint.py')
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


def random_state(shapes, seed=0):
    """Tensors of a trained network's order of magnitude."""
    generator, state = torch.Generator().manual_seed(seed), OrderedDict()
    for name, shape in shapes.items():
        if name.endswith('num_batches_tracked'):
            state[name] = torch.tensor(187680)
        elif len(shape) > 1:
            fan_in = np.prod(shape[1:])
            state[name] = torch.randn(shape, generator=generator) * (2 / fan_in)**0.5
        elif name.endswith(('running_var', 'weight')):
            state[name] = torch.rand(shape, generator=generator) * 0.5 + 0.5
        else:
            state[name] = torch.randn(shape, generator=generator) * 0.2
    return state


# The architectures, written down once more. `n` is the network's tensors; a layer is its name.

class Tensors:
    """A state dict that knows which of its tensors were used."""

    def __init__(self, state):
        self.state, self.used = state, set()

    def __call__(self, name):
        self.used.add(name)
        return self.state[name]

    def has(self, name):
        return name in self.state

    def conv(self, x, name, stride=1, padding=0, groups=1):
        bias = self(f'{name}.bias') if self.has(f'{name}.bias') else None
        return F.conv2d(x, self(f'{name}.weight'), bias, stride, padding, 1, groups)

    def bn(self, x, name):
        self.used.add(f'{name}.num_batches_tracked')
        mean, var, weight, bias = (self(f'{name}.{part}')[:, None, None] for part in (
            'running_mean', 'running_var', 'weight', 'bias'))
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def classify(self, x, name):
        return x.mean((2, 3)) @ self(f'{name}.weight').T + self(f'{name}.bias')


def count(n, pattern):
    return 1 + max(int(re.match(pattern, key)[1]) for key in n.state if re.match(pattern, key))


def resnet(n, x):
    x = n.bn(n.conv(x, 'conv1', padding=1), 'bn1').relu()
    for stage in (1, 2, 3):
        for i in range(count(n, rf'layer{stage}\.(\d+)')):
            b, stride = f'layer{stage}.{i}', 2 if stage > 1 and i == 0 else 1
            y = n.bn(n.conv(x, f'{b}.conv1', stride, 1), f'{b}.bn1').relu()
            y = n.bn(n.conv(y, f'{b}.conv2', 1, 1), f'{b}.bn2')
            if n.has(f'{b}.downsample.0.weight'):
                x = n.bn(n.conv(x, f'{b}.downsample.0', stride), f'{b}.downsample.1')
            x = (x + y).relu()
    return n.classify(x, 'fc')


def resnet50(n, x):
    x = n.bn(n.conv(x, 'conv1', padding=1), 'bn1').relu()
    for stage, blocks in zip((1, 2, 3, 4), (3, 4, 6, 3)):
        for i in range(blocks):
            b, stride = f'layer{stage}.{i}', 2 if stage > 1 and i == 0 else 1
            y = n.bn(n.conv(x, f'{b}.conv1'), f'{b}.bn1').relu()
            y = n.bn(n.conv(y, f'{b}.conv2', stride, 1), f'{b}.bn2').relu()
            y = n.bn(n.conv(y, f'{b}.conv3'), f'{b}.bn3')
            if i == 0:
                x = n.bn(n.conv(x, f'{b}.shortcut.0', stride), f'{b}.shortcut.1')
            x = (x + y).relu()
    return n.classify(x, 'linear')


def wrn(n, x):
    x = n.conv(x, 'conv1', padding=1)
    for stage in (1, 2, 3):
        for i in range(count(n, rf'block{stage}\.layer\.(\d+)')):
            b, stride = f'block{stage}.layer.{i}', 2 if stage > 1 and i == 0 else 1
            a = n.bn(x, f'{b}.bn1').relu()
            y = n.bn(n.conv(a, f'{b}.conv1', stride, 1), f'{b}.bn2').relu()
            y = n.conv(y, f'{b}.conv2', 1, 1)
            if n.has(f'{b}.convShortcut.weight'):
                x = n.conv(a, f'{b}.convShortcut', stride)
            x = x + y
    return n.classify(n.bn(x, 'bn1').relu(), 'fc')


def vgg(n, x):
    for block in range(5):
        for i in range(0, count(n, rf'block{block}\.(\d+)'), 3):  # conv, bn, relu
            x = n.bn(n.conv(x, f'block{block}.{i}', padding=1), f'block{block}.{i + 1}').relu()
        if block < 3:
            x = F.max_pool2d(x, 2)
    return n.classify(x, 'classifier')


def mobilenet_v2(n, x):
    x = n.bn(n.conv(x, 'conv1.0', 2, 1), 'conv1.1').relu()
    for k, (blocks, stride) in enumerate(
            [(1, 1), (2, 1), (3, 2), (4, 2), (3, 1), (3, 2), (1, 1)]):
        for i in range(blocks):
            c = f'blocks.{k}.{i}.conv'
            y = n.bn(n.conv(x, f'{c}.0'), f'{c}.1').relu()
            y = n.conv(y, f'{c}.3', stride if i == 0 else 1, 1, groups=y.shape[1])
            y = n.bn(y, f'{c}.4').relu()
            y = n.bn(n.conv(y, f'{c}.6'), f'{c}.7')
            x = x + y if i > 0 else y  # the first of each has other channels than its input
    x = n.bn(n.conv(x, 'conv2.0'), 'conv2.1').relu()
    return n.classify(x, 'classifier.0')


def shuffle(x, groups):
    channels = x.shape[1]
    order = [g * (channels // groups) + i for i in range(channels // groups) for g in range(groups)]
    return x[:, order]


def shuffle_v1(n, x):
    x = n.bn(n.conv(x, 'conv1'), 'bn1').relu()
    for stage, blocks in zip((1, 2, 3), (4, 8, 4)):
        for i in range(blocks):
            b, groups = f'layer{stage}.{i}', 1 if stage == 1 and i == 0 else 3
            y = n.bn(n.conv(x, f'{b}.conv1', groups=groups), f'{b}.bn1').relu()
            y = shuffle(y, groups)
            y = n.conv(y, f'{b}.conv2', 2 if i == 0 else 1, 1, groups=y.shape[1])
            y = n.bn(y, f'{b}.bn2').relu()
            y = n.bn(n.conv(y, f'{b}.conv3', groups=3), f'{b}.bn3')
            if i == 0:
                # 3x3 mean with zeros around the map counted
                x = torch.cat([y, F.pad(x, (1, 1, 1, 1)).unfold(2, 3, 2).unfold(3, 3, 2)
                               .mean((4, 5))], 1).relu()
            else:
                x = (x + y).relu()
    return n.classify(x, 'linear')


def shuffle_v2(n, x):
    x = n.bn(n.conv(x, 'conv1'), 'bn1').relu()
    for stage, blocks in zip((1, 2, 3), (4, 8, 4)):
        for i in range(blocks):
            b, half = f'layer{stage}.{i}', x.shape[1] // 2
            if i == 0:
                y = n.bn(n.conv(x, f'{b}.conv1', 2, 1, groups=x.shape[1]), f'{b}.bn1')
                y = n.bn(n.conv(y, f'{b}.conv2'), f'{b}.bn2').relu()
                z = n.bn(n.conv(x, f'{b}.conv3'), f'{b}.bn3').relu()
                z = n.bn(n.conv(z, f'{b}.conv4', 2, 1, groups=z.shape[1]), f'{b}.bn4')
                z = n.bn(n.conv(z, f'{b}.conv5'), f'{b}.bn5').relu()
            else:
                y, z = x[:, :half], x[:, half:]
                z = n.bn(n.conv(z, f'{b}.conv1'), f'{b}.bn1').relu()
                z = n.bn(n.conv(z, f'{b}.conv2', 1, 1, groups=half), f'{b}.bn2')
                z = n.bn(n.conv(z, f'{b}.conv3'), f'{b}.bn3').relu()
            x = shuffle(torch.cat([y, z], 1), 2)
    x = n.bn(n.conv(x, 'conv2'), 'bn2').relu()
    return n.classify(x, 'linear')


def original(name, state, image):
    family = {'ResNet50': resnet50, 'MobileNetV2': mobilenet_v2, 'ShuffleV1': shuffle_v1,
              'ShuffleV2': shuffle_v2}.get(name) or {
                  'res': resnet, 'wrn': wrn, 'vgg': vgg}[name[:3]]
    tensors = Tensors(state)
    logits = family(tensors, image)
    assert tensors.used == set(state)
    return logits


def run(monkeypatch, *argv):
    monkeypatch.setattr(sys, 'argv', ['convert_checkpoint.py', *map(str, argv)])
    tool.cli.main(tool.main)


@pytest.mark.parametrize('name', FACTS)
@torch.no_grad()
def test_logits_equal_the_original_s(name, tmp_path, monkeypatch, capsys):
    state = random_state(FACTS[name]['state_dict'])
    torch.save(dict(epoch=240, model=state, accuracy=torch.tensor([73.])), tmp_path / 'src.pth')
    run(monkeypatch, tmp_path / 'src.pth', tmp_path / 'new/dst.pth')
    assert capsys.readouterr().out.startswith(f'{name}: {len(state)} tensors')

    model = MODELS.build(classifier_cfg(name)).eval()
    load_checkpoint(model, str(tmp_path / 'new/dst.pth'), map_location='cpu', strict=True)
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    want = original(name, {k: v.double() for k, v in state.items()}, image.double())
    assert want.std() > 0.01 and want.shape == (2, 100)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        logits = model.to(dtype)(image.to(dtype)).double()
        assert (logits - want).abs().max() < tolerance * want.abs().max()


@pytest.mark.train  # builds two ResNets for ImageNet twice
@pytest.mark.parametrize('name', TORCHVISION)
@pytest.mark.parametrize('parameters', [False, True])  # older files of theirs hold Parameters
@torch.no_grad()
def test_torchvisions_logits(name, parameters, tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)()
    state = random_state({key: value.shape for key, value in theirs.state_dict().items()})
    theirs.load_state_dict(state)
    if parameters:
        state.update({key: torch.nn.Parameter(value) for key, value in state.items()
                      if value.is_floating_point() and value.ndim > 1})
    torch.save(state, tmp_path / 'src.pth')
    run(monkeypatch, tmp_path / 'src.pth', tmp_path / 'dst.pth')
    assert capsys.readouterr().out.startswith(f'{name}: {len(state)} tensors')
    model = MODELS.build(classifier_cfg(name)).eval().double()
    load_checkpoint(model, str(tmp_path / 'dst.pth'), map_location='cpu', strict=True)
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()
    want = theirs.eval().double()(image)
    assert want.std() > 0.01 and want.shape == (2, 1000)
    assert (model(image) - want).abs().max() < 1e-10 * want.abs().max()


def test_another_file_of_torchvisions_is_refused(tmp_path, monkeypatch, capsys):
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / 'src.pth')
    with pytest.raises(SystemExit) as error:
        run(monkeypatch, tmp_path / 'src.pth', tmp_path / 'dst.pth')
    said = capsys.readouterr().err
    assert error.value.code == 2 and said.count('\n') == 1
    assert 'the nearest network is resnet34: ' in said and not (tmp_path / 'dst.pth').exists()


@pytest.mark.parametrize('name', ['resnet8x4', 'vgg8'])
def test_a_state_dict_alone_of_repdistiller(name, tmp_path, monkeypatch, capsys):
    state = random_state(FACTS[name]['state_dict'])
    torch.save(state, tmp_path / 'src.pth')
    run(monkeypatch, tmp_path / 'src.pth', tmp_path / 'dst.pth')
    assert capsys.readouterr().out.startswith(f'{name}: {len(state)} tensors')
    converted = torch.load(tmp_path / 'dst.pth', weights_only=True)['state_dict']
    for theirs, (ours, _) in public_tensors(name).items():
        assert torch.equal(converted[ours], state[theirs])


@pytest.mark.parametrize('name', FACTS)
def test_table_names_every_public_tensor(name):
    public = {theirs: list(shape) for theirs, (_, shape) in public_tensors(name).items()}
    assert public == FACTS[name]['state_dict']


def test_no_two_networks_look_the_same():
    assert len({json.dumps(facts['state_dict'], sort_keys=True) for facts in FACTS.values()}) == 15
    assert list(NETWORKS) == list(FACTS)


@pytest.mark.parametrize('zipped', [True, False])
def test_plain_values_beside_the_model_are_read(zipped, tmp_path, monkeypatch):
    state = random_state(FACTS['resnet8x4']['state_dict'])
    weight = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([weight], 0.1, momentum=0.9)
    weight.sum().backward()
    optimizer.step()
    torch.save(dict(
        model=state, epoch=240, accuracy=np.float64(73.3), best_acc=np.float32(73.1),
        steps=np.int64(7), optimizer=optimizer.state_dict(),
        opt=argparse.Namespace(lr=0.05, lr_decay_epochs=[150, 180, 210], model='resnet8x4')),
        tmp_path / 'src.pth', _use_new_zipfile_serialization=zipped)
    run(monkeypatch, tmp_path / 'src.pth', tmp_path / 'dst.pth', '--model', 'resnet8x4')
    converted = torch.load(tmp_path / 'dst.pth', weights_only=True)['state_dict']
    assert torch.equal(converted['backbone.layer3.0.conv2.weight'], state['layer3.0.conv2.weight'])


class Innocent:
    pass


class Harmful:

    def __reduce__(self):
        return os.mkdir, (os.environ['HARM'], )


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('kind', [Innocent, Harmful])
def test_other_objects_are_refused(kind, zipped, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('HARM', str(tmp_path / 'harm'))
    monkeypatch.setattr(sys.modules['__main__'], 'Innocent', Innocent, raising=False)
    monkeypatch.setattr(Innocent, '__module__', '__main__')
    state = random_state(FACTS['resnet8x4']['state_dict'])
    torch.save(dict(model=state, opt=kind()), tmp_path / 'src.pth',
               _use_new_zipfile_serialization=zipped)
    with pytest.raises(SystemExit) as error:
        run(monkeypatch, tmp_path / 'src.pth', tmp_path / 'dst.pth')
    said = capsys.readouterr().err
    named = '__main__.Innocent' if kind is Innocent else f'{os.mkdir.__module__}.mkdir'
    assert error.value.code == 2 and said.count('\n') == 1
    assert str(tmp_path / 'src.pth') in said and f'src.pth holds {named}, which' in said
    assert not (tmp_path / 'harm').exists() and not (tmp_path / 'dst.pth').exists()


@pytest.mark.parametrize('content,message', [
    (None, 'No such file'),
    (b'', 'src.pth is no checkpoint'),
    (b'hello', 'src.pth is no checkpoint'),
    (dict(state_dict={}), r"no state dict under 'model'.* found 1 keys \('state_dict'\)"),
    (dict({f'key{i}': torch.zeros(1) for i in range(343)}, epoch=1),
     r"found 344 keys \('key0', 'key1', .*'key7', \.\.\.\)$"),
    ([1], "no state dict under 'model'.* found a list"),
    (dict(model=[1]), "under 'model' is not a state dict"),
])
def test_other_files_are_refused(content, message, tmp_path, monkeypatch, capsys):
    path = tmp_path / 'src.pth'
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(SystemExit) as error:
        run(monkeypatch, path, tmp_path / 'dst.pth')
    said = capsys.readouterr().err
    assert error.value.code == 2 and said.count('\n') == 1 and re.search(message, said)


def changed(name, **changes):
    state = {k: torch.empty(shape) for k, shape in FACTS[name]['state_dict'].items()}
    for key, value in changes.items():
        key = key.replace('__', '.')
        if value is None:
            del state[key]
        else:
            state[key] = torch.empty(value)
    return state


@pytest.mark.parametrize('state,name,message', [
    (changed('vgg8', block0__0__bias=None), None,
     r'the nearest network is vgg8: 1 missing \(block0.0.bias\)$'),
    (changed('wrn_40_1', extra=[3]), None,
     r'the nearest network is wrn_40_1: 1 unexpected \(extra\)$'),
    (changed('resnet20', fc__weight=[10, 64], fc__bias=[10]), None,
     r'nearest .* resnet20: 2 of another shape \(fc.weight \(10, 64\) instead of \(100, 64\), '),
    (changed('resnet56'), 'resnet20', r'not the tensors of resnet20: 216 unexpected \(layer1.3.'),
    (changed('vgg8'), 'resnet8', "no network 'resnet8': did you mean .*'resnet8x4'"),
    ({}, None, 'the nearest network is .* missing'),
])
def test_another_network_is_refused_by_name(state, name, message):
    with pytest.raises(ConfigError, match=message) as error:
        convert(state, name)
    assert '\n' not in str(error.value)
