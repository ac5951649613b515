"""A teacher of another library sees the student's images in its own normalisation."""
import copy

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.registry import MODELS
from mmengine.structures import PixelData
from torch.nn import functional as F

from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.teacher.preprocessor import preprocessor_for
from tests.small import batch

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
RGB, BGR = dict(mean=MEAN, std=STD), dict(mean=MEAN[::-1], std=STD[::-1])
# Of each library: its name, and what it calls the change of channels and the padding.
TYPES = dict(
    cls=('mmpretrain.ClsDataPreprocessor', 'to_rgb', 'pad_value'),
    det=('mmdet.DetDataPreprocessor', 'bgr_to_rgb', 'pad_value'),
    seg=('mmseg.SegDataPreProcessor', 'bgr_to_rgb', 'pad_val'),
    plain=('mmengine.ImgDataPreprocessor', 'bgr_to_rgb', 'pad_value'))


def preprocessor(task, flips=False, padding=0, **fields):
    kind, order, pad = TYPES[task]
    return MODELS.build(ConfigDict(type=kind, **{order: flips, pad: padding}, **fields))


def of_two_sizes(task):
    data = batch(task)
    if task == 'seg':  # mmseg crops to one size, and fills up where the image is smaller
        data['inputs'] = [image[:, :56, :48] for image in data['inputs']]
        for sample in data['data_samples']:
            sample.gt_sem_seg = PixelData(data=sample.gt_sem_seg.data[:, :56, :48])
    else:
        data['inputs'][1] = data['inputs'][1][:, :56, :48]
    return data


def reference(images, shape, mean, std, flips, padding):
    """From the equation, in double precision."""
    batch = torch.full((len(images), 3, *shape), float(padding), dtype=torch.float64)
    mean, std = (torch.tensor(value, dtype=torch.float64).view(3, 1, 1) for value in (mean, std))
    for whole, image in zip(batch, images):
        channels = image[[2, 1, 0]] if flips else image
        whole[:, :image.shape[1], :image.shape[2]] = (channels.double() - mean) / std
    return batch


STUDENTS = {
    'det': dict(pad_size_divisor=32, **RGB, flips=True),
    'det bgr': dict(pad_size_divisor=32, **BGR),  # RTMDet
    'det raw': dict(pad_size_divisor=32, padding=114),  # YOLOX
    'seg': dict(size=(64, 64), **RGB, flips=True),
    'seg bgr': dict(size=(64, 64), **BGR, padding=3),
    'cls bgr': dict(mean=[0.] * 3, std=[255.] * 3)}


@pytest.mark.parametrize('of', ['cls', 'plain', 'det', 'seg'])
@pytest.mark.parametrize('flips', [True, False])
@pytest.mark.parametrize('student', STUDENTS)
def test_a_teacher_of_another_library_gets_what_its_own_preprocessor_gives(student, flips, of):
    task = student[:3]
    if task == of:
        return  # of one type, below
    own, theirs = preprocessor(task, **STUDENTS[student]), preprocessor(
        of, flips, 2, mean=[100., 110., 130.], std=[50., 60., 70.])
    data = of_two_sizes(task)
    got = preprocessor_for(own, theirs)(copy.deepcopy(data), True)
    alone = own(copy.deepcopy(data), True)
    assert torch.equal(got['inputs'], alone['inputs'])
    expected = reference(data['inputs'], got['inputs'].shape[2:], theirs.mean.flatten().tolist(),
                         theirs.std.flatten().tolist(), flips, 2)
    torch.testing.assert_close(got['teacher_inputs'].double(), expected, rtol=1e-5, atol=1e-5)
    if of == 'cls' and task != 'seg':  # its own, in double precision, before more is padded
        by_itself = theirs.double()(dict(inputs=data['inputs']), False)['inputs']
        assert by_itself.dtype == torch.float64
        height, width = by_itself.shape[2:]
        torch.testing.assert_close(expected[:, :, :height, :width], by_itself)


@pytest.mark.parametrize('task', ['det', 'seg', 'cls'])
def test_another_channel_order_of_one_type(task):
    size = dict(size=(64, 64)) if task == 'seg' else {}
    own, theirs = preprocessor(task, **BGR, **size), preprocessor(task, True, **RGB, **size)
    data = of_two_sizes(task)
    got = preprocessor_for(own, theirs)(copy.deepcopy(data), True)['teacher_inputs']
    expected = reference(data['inputs'], got.shape[2:], MEAN, STD, True, 0)
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)


def test_the_same_normalisation_costs_nothing():
    own = preprocessor('det', True, pad_size_divisor=32, **RGB)
    assert preprocessor_for(own, preprocessor('cls', True, **RGB)) is own
    assert preprocessor_for(own, MODELS.build(dict(type='BaseDataPreprocessor'))) is own


def test_a_batch_that_is_resized_at_random_is_so_for_both():
    """YOLOX's; padding is resized with the image, each in its own colour."""
    own = preprocessor('det', padding=114, pad_size_divisor=32, batch_augments=[dict(
        type='mmdet.BatchSyncRandomResize', random_size_range=(64, 160), interval=1)])
    two = preprocessor_for(own, preprocessor('cls', True, **RGB))
    sizes = set()
    for step in range(4):
        MessageHub.get_current_instance().update_info('iter', step)
        data = of_two_sizes('det')
        got = two(copy.deepcopy(data), True)
        expected = reference(data['inputs'], (64, 64), MEAN, STD, True, 0)
        size = got['inputs'].shape[2:]
        expected = F.interpolate(  # as mmdet does it, in single precision
            expected.float(), size=size, mode='bilinear', align_corners=False)
        torch.testing.assert_close(got['teacher_inputs'], expected, rtol=1e-5, atol=1e-5)
        boxes = got['data_samples'][0].gt_instances.bboxes
        torch.testing.assert_close(
            boxes, data['data_samples'][0].gt_instances.bboxes * (size[0] / 64))
        sizes.add(tuple(size))
    assert len(sizes) > 1


def test_a_mixed_batch_is_mixed_alike():
    own = MODELS.build(ConfigDict(
        type='mmpretrain.ClsDataPreprocessor', num_classes=5, **BGR,
        batch_augments=dict(augments=[dict(type='Mixup', alpha=1.)])))
    got = preprocessor_for(own, preprocessor('det', True, **RGB))(batch('cls', 4), True)
    mean, std = (torch.tensor(value).double().view(3, 1, 1) for value in (MEAN, STD))
    raw = got['inputs'].double() * std.flip(0) + mean.flip(0)
    torch.testing.assert_close(got['teacher_inputs'].double(), (raw.flip(1) - mean) / std,
                               rtol=1e-5, atol=1e-5)


def test_a_preprocessor_of_another_kind_is_refused():
    mixed = MODELS.build(ConfigDict(
        type='mmdet.MultiBranchDataPreprocessor',
        data_preprocessor=dict(type='mmdet.DetDataPreprocessor', **RGB)))
    with pytest.raises(ConfigError, match='ClsDataPreprocessor, the student.s a MultiBranch.*: one '
                       'batch cannot serve both; expected one type, or two of Img'):
        preprocessor_for(mixed, preprocessor('cls', **RGB))


def test_a_teacher_that_states_no_normalisation_is_refused():
    """mmpretrain states it beside the model, where ``Config.fromfile(...).model`` misses it."""
    with pytest.raises(ConfigError, match=r'\(ClsDataPreprocessor\) states no mean and std; exp'):
        preprocessor_for(preprocessor('det', **RGB), preprocessor('cls'))
