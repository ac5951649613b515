import pytest
import torch
from mmengine.registry import MODELS
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from mmdistill_ext.errors import ConfigError


def build(**kwargs):
    return MODELS.build(dict(type='MobileNetV1', **kwargs))


def test_size_and_cost_at_224():
    import mmpretrain.models  # noqa: F401
    from mmpretrain.registry import MODELS as CLS_MODELS
    with torch.device('meta'):
        model = CLS_MODELS.build(dict(
            type='ImageClassifier',
            backbone=dict(type='MobileNetV1'),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=1000, in_channels=1024)))
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 224, 224))
    assert sum(p.numel() for p in model.parameters()) == 4_231_976
    # Howard et al. 2017: 4.2 M parameters, 569 M multiply-adds; a multiply-add is two operations.
    assert round(counter.get_total_flops() / 2e6) == 569


def test_stages():
    model = build(out_indices=(0, 1, 2, 3)).eval()
    image = torch.randn(1, 3, 64, 96)
    assert [tuple(f.shape) for f in model(image)] == [
        (1, 128, 16, 24), (1, 256, 8, 12), (1, 512, 4, 6), (1, 1024, 2, 3)]
    assert [name for name, _ in model.named_children()] == [
        'stem', 'layer1', 'layer2', 'layer3', 'layer4']
    last, = build()(image)
    assert last.shape == (1, 1024, 2, 3)
    assert len(build(out_indices=[1, 3])(image)) == 2


def test_the_children_in_order_are_the_network():
    model = build(out_indices=(0, 1, 2, 3)).eval()
    x = torch.randn(1, 3, 32, 32)
    outs = model(x)
    for i, child in enumerate(model.children()):
        x = child(x)
        if i:
            assert torch.equal(x, outs[i - 1])


def test_layers_come_from_the_config():
    model = build(norm_cfg=dict(type='GN', num_groups=4), act_cfg=dict(type='ReLU6'))
    kinds = {type(m).__name__ for m in model.modules()}
    assert {'GroupNorm', 'ReLU6'} <= kinds and not {'BatchNorm2d', 'ReLU'} & kinds


@pytest.mark.parametrize('frozen', [-1, 0, 2, 4])
def test_frozen_stages(frozen):
    model = build(frozen_stages=frozen).train()
    parts = list(model.children())
    for i, part in enumerate(parts):
        still = i <= frozen
        assert all(p.requires_grad != still for p in part.parameters())
        assert all(m.training != still for m in part.modules() if isinstance(m, _BatchNorm))


def test_norm_eval():
    model = build(norm_eval=True).train()
    before = [b.clone() for b in model.buffers()]
    model(torch.randn(2, 3, 32, 32))[0].sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(before, model.buffers()))
    assert all(p.grad is not None for p in model.parameters())
    assert model.training


@pytest.mark.parametrize('kwargs', [dict(out_indices=(4, )), dict(out_indices=(-1, )),
                                    dict(frozen_stages=5)])
def test_mistakes_are_named(kwargs):
    with pytest.raises(ConfigError, match='MobileNetV1: ' + next(iter(kwargs))):
        build(**kwargs)
