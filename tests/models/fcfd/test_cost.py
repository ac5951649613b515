"""What a step of FCFD costs: the minimum, counted by hand from the layers' shapes."""
import pytest
import torch
from mmengine.logging import MessageHub
from mmpretrain.structures import DataSample
from mmrazor.registry import MODELS

import mmdistill_ext  # noqa: F401
from mmdistill_ext.analysis.measure import flops_of, saved_bytes
from mmdistill_ext.models.fcfd import DenseAnswerLoss, DenseOutputs
from mmdistill_ext.models.fcfd.dense_loss import DenseForm

EVERY = [(k, d) for k in (1, 2) for d in ('s2t', 't2s')]
WIDTHS, SIZES = (32, 64, 128, 256), (32, 16, 8)  # stem and stages; heights of the stages


def network(depth):
    return dict(_scope_='mmpretrain', type='ImageClassifier',
                backbone=dict(type='CIFARResNet', depth=depth),
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', num_classes=100, in_channels=256))


def build(**fields):
    """resnet32x4 -> resnet8x4, the pair that the paper measures."""
    torch.manual_seed(0)
    return MODELS.build(dict(
        type='FCFDDistill', architecture=network('8x4'), teacher=network('32x4'),
        random_teacher=True, **fields)).train()


def step_of(algorithm, images):
    inputs = torch.randn(images, 3, 32, 32)
    samples = [DataSample().set_gt_label(i) for i in range(images)]
    return lambda: algorithm.parse_losses(algorithm(inputs, samples, mode='loss'))[0]


def stage_macs(k, blocks):
    """Multiply-adds for one image of a stage: two 3x3 convolutions a block, 1x1 in the first."""
    cin, cout, pixels = WIDTHS[k - 1], WIDTHS[k], SIZES[k - 1]**2
    first = 9 * cin * cout + 9 * cout * cout + cin * cout
    return pixels * (first + (blocks - 1) * 18 * cout * cout)


STEM, FC = 32 * 32 * 9 * 3 * 32, 256 * 100


def bridge_macs(k):
    return SIZES[k - 1]**2 * 9 * WIDTHS[k]**2


def fewest(paths, appearance=True):
    """Forward once, backward once for the input and once for the weight, where there is a use."""
    student, teacher = ([stage_macs(k, blocks) for k in (1, 2, 3)] for blocks in (1, 5))
    macs = 3 * (sum(student) + FC) + 2 * STEM  # images need no gradient
    macs += sum(teacher) + FC + STEM
    bridges = set(range(1, 4)) if appearance else {k for k, d in paths if d == 's2t'}
    macs += 3 * sum(bridge_macs(k) for k in bridges)
    for k, direction in paths:
        if direction == 's2t':  # frozen weights need no gradient
            macs += 2 * (sum(teacher[k:]) + FC)
        else:  # nor does the teacher's feature
            macs += 3 * (sum(student[k:]) + FC) + 2 * bridge_macs(k)
    return macs


@pytest.mark.train
@pytest.mark.parametrize('fields, paths', [
    (dict(paths=dict(num=0)), []),
    (dict(paths=dict(num='all')), EVERY),
    (dict(paths=dict(num='all'), appearance=False), EVERY),
    *((dict(paths=dict(num='all', positions=[k], directions=[d])), [(k, d)]) for k, d in EVERY)])
def test_multiply_adds(fields, paths):
    step = step_of(build(**fields), 1)
    counted = flops_of(lambda: step().backward())
    expected = 2 * fewest(paths, fields.get('appearance', True))
    assert expected <= counted * 1.001 and counted <= 1.001 * expected
    if len(paths) == 4 and 'appearance' not in fields:  # a batch of 64
        assert counted * 64 / 1e9 == pytest.approx(614, rel=0.001)


@pytest.mark.train
def test_multiply_adds_of_two_drawn_paths():
    algorithm, hub = build(), MessageHub.get_instance('test_multiply_adds')
    step = step_of(algorithm, 1)
    for iteration in (0, 2):
        hub.update_info_dict(dict(seed=0, iter=iteration))
        expected = 2 * fewest(algorithm.sampler.sample(0, iteration))
        assert flops_of(lambda: step().backward()) == pytest.approx(expected, rel=1e-3)


@pytest.mark.train
@pytest.mark.parametrize('positions, directions, most', [
    ([1, 2], ['s2t', 't2s'], 780), ([1, 2], ['s2t'], 560), ([1], ['s2t', 't2s'], 560)])
def test_bytes_kept_for_backward(positions, directions, most):
    """In MB at a batch of 64. Two paths: the dearest pairs of those that can be drawn."""
    images = 4
    algorithm = build(paths=dict(num='all', positions=positions, directions=directions))
    kept = saved_bytes(step_of(algorithm, images), algorithm)
    if torch.__version__ < '2.2':
        # PyTorch 2.1's mse_loss returns a number that holds the memory of the whole map.
        most += 64 * 4 * sum(width * size**2 for width, size in zip(WIDTHS[1:], SIZES)) / 1e6
    assert 0.4 * most < kept * 64 / images / 1e6 < most


@pytest.mark.parametrize('form', [DenseForm(), DenseForm('varifocal'), DenseForm('binary'),
                                  DenseForm(quality='centerness'), DenseForm(bins=2)])
def test_class_maps_that_the_comparison_of_dense_outputs_keeps(form):
    """Of 80 classes, in three paths: the gradient of each, and boxes of a twentieth their size."""
    levels = [(8, 8), (4, 4)]

    def maps(channels):
        return [torch.randn(2, 3 * channels, *size) for size in levels]

    def outputs(grad=False):
        found = DenseOutputs(maps(80), maps(4 * form.bins), maps(1) if form.quality else None, form)
        for level in [*found.classes, *found.boxes, *(found.quality or [])]:
            level.requires_grad_(grad)
        return found

    loss, target = DenseAnswerLoss(), outputs()
    paths = [outputs(grad=True) for _ in range(3)]

    def compared():
        prepared = loss.prepared(target)
        return [loss(path, prepared) for path in paths]

    one = sum(level.nbytes for level in target.classes)
    kept = saved_bytes(compared, loss) / one
    assert 3 <= kept <= 4.2, kept
