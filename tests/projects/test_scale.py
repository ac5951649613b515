"""What docs/scale.md counts and the hours that it makes of it."""
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

import mmdistill_ext  # noqa: F401
from projects.bench import recipe_flops, scale
from projects.bench.recipe_flops import (
    Counts,
    build,
    count,
    count_at,
    image_size,
    recipes,
    seen_images,
)
from projects.bench.scale_hours import read_speeds, row_of
from projects.where import HOME

CONFIGS = HOME / 'configs'
IN1K = 'mlp/cls/mlp_backbone_resnet34_resnet18_8xb32_in1k.py'
CIFAR = 'fcfd/cls/fcfd_resnet32x4_resnet8x4_1xb64_cifar100.py'
RETINA = 'mlp/det/mlp_neck_retinanet_x101_retinanet_r50_fpn_1x_coco.py'


def load(path):
    return Config.fromfile(CONFIGS / path)


def bench_gflop(row, mode='bench cuda'):
    """GFLOP of a step that the bench counted on the GPU."""
    speed = read_speeds(HOME / 'docs/performance.md')[mode][row]
    return speed.seconds * speed.gflops


@pytest.mark.train
def test_the_count_is_the_benchs():
    """The bench counted whole steps of 32 and 64 images on a GPU; its seconds have three digits."""
    students = {}
    in1k, cifar = count(load(IN1K), students), count(load(CIFAR), students)
    assert 32 * in1k.all == pytest.approx(580.1, abs=.1)
    assert 32 * in1k.student == pytest.approx(340.7, abs=.1)
    assert 32 * in1k.teacher == pytest.approx(234.4, abs=.1)
    assert 64 * cifar.all == pytest.approx(432., abs=.1)  # the mean of two paths of four
    assert 64 * cifar.student == pytest.approx(67.9, abs=.1)
    assert 64 * cifar.teacher == pytest.approx(138.6, abs=.1)
    for figure, row in ((32 * in1k.all, 'cls: ours'), (64 * cifar.all, 'fcfd: FCFD, 2 paths')):
        assert figure == pytest.approx(bench_gflop(row), rel=.01)


@pytest.mark.train
@pytest.mark.parametrize('path', [IN1K, CIFAR])
def test_images_count_alike(path):
    config, students = load(path), {}
    two, four = (count_at(config, build(config), students, (64, 64), images)
                 for images in (2, 4))
    assert four == pytest.approx(two, rel=1e-6)


@pytest.mark.nightly
def test_small_sizes_tell_the_large_one():
    """RetinaNet at 800x1088 is what two small sizes say of it, but for maps of half a pixel."""
    config = load(RETINA)
    assert image_size(config) == (800, 1088)
    whole = count_at(config, build(config), {}, (800, 1088), images=1)
    assert count(config, {}) == pytest.approx(whole, rel=.005)


@pytest.mark.parametrize('modulated', [False, True])
def test_a_deformable_convolution_counts_as_a_plain_one(modulated):
    from mmcv.ops import DeformConv2d, ModulatedDeformConv2d
    torch.manual_seed(0)

    class Model(nn.Module):

        def __init__(self, deformable):
            super().__init__()
            kind = ModulatedDeformConv2d if modulated else DeformConv2d
            settings = dict(kernel_size=3, stride=2, padding=1, groups=2, bias=False)
            self.conv = (kind if deformable else nn.Conv2d)(4, 6, **settings)
            self.deformable = deformable

        def forward(self, inputs, data_samples, mode):
            others = []
            if self.deformable:
                others = [torch.zeros(2, 18, 5, 5)] + [torch.ones(2, 9, 5, 5)] * modulated
            return dict(loss=self.conv(inputs, *others).sum())

        def parse_losses(self, losses):
            return losses['loss'], losses

    batch = dict(inputs=torch.randn(2, 4, 10, 10, requires_grad=True), data_samples=None)
    deformable, plain = (recipe_flops._step(Model(kind), batch)[0] for kind in (True, False))
    assert deformable == plain == 3 * 2 * (2 * 6 * 5 * 5) * (4 // 2 * 9)


def vit_b(tokens):
    """GFLOP of a ViT-B/14: its linear layers, attention, and the embedding of patches."""
    n, c = tokens + 1, 768
    return (12 * (24 * n * c ** 2 + 4 * n ** 2 * c) + 2 * tokens * 3 * 14 ** 2 * c) / 1e9


@pytest.mark.train
def test_attention_counts_and_a_transformer_counts_at_its_own_size():
    """Torch knows no operations of attention on the CPU, and they grow faster than the pixels."""
    config = load('mlp/seg/mlp_backbone_dinov2-vit-b14_pspnet_r18-d8_8xb2-40k_'
                  'cityscapes-512x512.py')
    counts = count(config, {})
    assert counts.teacher == pytest.approx(vit_b(32 * 32), rel=1e-6)
    assert counts.all > counts.student + counts.teacher


@pytest.mark.parametrize('path, size, images, step', [
    (IN1K, (224, 224), 100 * 1281167, 256), (CIFAR, (32, 32), 240 * 50000, 64),
    (RETINA, (800, 1088), 12 * 117266, 16),
    ('mlp/seg/mlp_backbone_pspnet_r101-d8_pspnet_r18-d8_8xb2-40k_cityscapes-512x512.py',
     (512, 512), 40000 * 16, 16),
    ('fcfd/det/fcfd_neck_faster-rcnn_r101_faster-rcnn_r18_1xb8-amp-1x_coco.py', (704, 960),
     180000 * 8, 8),
    ('mlp/det/mlp_neck_dino_swin-l_dino_r50_8xb2-12e_coco.py', (640, 864), 12 * 117266, 16)])
def test_sizes_and_images(path, size, images, step):
    config = load(path)
    assert image_size(config) == size
    assert seen_images(config, (CONFIGS / path).stem) == (images, step)


def test_hours():
    """By operations at the measured speed; on CIFAR by steps at their measured time."""
    speeds = read_speeds(HOME / 'docs/performance.md')
    assert speeds['bench cuda']['cls: ours'] == (.0143, 40558)
    assert speeds['bench cuda amp']['fcfd: FCFD, 2 paths'] == (.0458, 9437)
    eager, mixed = speeds.hours(CONFIGS / IN1K, load(IN1K), 128116700, 256, 18.13)
    assert eager == pytest.approx(128116700 * 18.13e9 / 40558e9 / 3600)
    assert mixed == pytest.approx(eager * 40558 / 40929)
    eager, _ = speeds.hours(CONFIGS / CIFAR, load(CIFAR), 12000000, 64, 6.75)
    assert eager == pytest.approx(240 * 50000 / 64 * .0394 / 3600)
    assert speeds.hours(CONFIGS / RETINA, load(RETINA), 1, 16, 1.)[1] is None


@pytest.mark.train
def test_every_recipe_has_a_row_and_a_speed():
    speeds = read_speeds(HOME / 'docs/performance.md')
    page = (HOME / 'docs/scale.md').read_text()
    for path in recipes(CONFIGS):
        init_default_scope('mmengine')
        assert row_of(path, Config.fromfile(path)) in speeds['bench cuda'], path
        assert f'[{path.stem}](../{path.relative_to(HOME)}) |' in page, path
    rows = re.findall(r'^\| \[.+', page, re.M)
    assert len(rows) == len(list(recipes(CONFIGS)))


def test_a_row():
    """Sums of the page: images times operations."""
    speeds = read_speeds(HOME / 'docs/performance.md')
    row = scale._row(CONFIGS / IN1K, load(IN1K), Counts(10., 5., 18.), speeds)
    cells = [cell.strip() for cell in row.strip('|').split('|')]
    assert cells[1:6] == ['224x224', '128', '1281', '640.6', '2306']
    assert [float(cell) for cell in cells[6:]] == pytest.approx([15.8, 15.7], abs=.05)
