"""What is counted and drawn, on predictions made by hand."""
import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from mmdistill_ext.analysis import predictions
from mmdistill_ext.errors import ConfigError
from tests.small import build, model_config

META = predictions.dataset_meta(dict(classes=('background', 'a', 'b')))


@pytest.fixture
def picture(tmp_path):
    path = str(tmp_path / 'a.png')
    cv2.imwrite(path, np.full((40, 60, 3), 200, np.uint8))
    return dict(img_path=path, ori_shape=(40, 60))


def detections(meta, found):
    """Two objects; what is found is (box, label, score)."""
    sample = DetDataSample(metainfo=meta)
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[0., 0., 10., 10.], [20., 20., 30., 30.]]),
        labels=torch.tensor([1, 2]))
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([box for box, _, _ in found]).reshape(-1, 4),
        labels=torch.tensor([label for _, label, _ in found], dtype=torch.long),
        scores=torch.tensor([score for _, _, score in found]))
    return sample


@pytest.mark.parametrize('found, counted', [
    ([], (2, 0, 0)),
    ([([0., 0., 10., 9.], 1, .9)], (2, 1, 1)),
    ([([0., 0., 10., 9.], 1, .9), ([0., 0., 10., 10.], 1, .8)], (2, 2, 1)),  # the same one twice
    ([([0., 0., 10., 9.], 2, .9)], (2, 1, 0)),  # of another class
    ([([0., 0., 10., 4.], 1, .9)], (2, 1, 0)),  # IoU 0.4
    ([([0., 0., 10., 10.], 1, .2), ([20., 20., 30., 31.], 2, .4)], (2, 1, 1)),  # one is too unsure
])
def test_boxes_are_counted(picture, found, counted):
    assert predictions.count_boxes(detections(picture, found), 3) == counted


def test_pixels_are_counted(picture):
    sample = SegDataSample(metainfo=picture)
    truth, found = torch.ones(1, 40, 60).long(), torch.ones(1, 40, 60).long()
    truth[:, :, 30:], found[:, :, 30:] = 2, 2
    found[:, :20, 30:] = 0  # half of the second class is taken for the background
    truth[:, 0, 0] = 255  # to be ignored
    sample.gt_sem_seg, sample.pred_sem_seg = PixelData(data=truth), PixelData(data=found)
    right, iou = predictions.count_pixels(sample, 3)
    assert right == pytest.approx(100 * (2399 - 600) / 2399)
    assert iou == pytest.approx(100 * (0 + 1 + .5) / 3)

    kind = predictions.kind_of(build(model_config('seg')))
    drawn = {name: predictions.draw_sample(kind, sample, META, truth=name == 'truth')
             for name in ('truth', 'student')}
    assert drawn['truth'].shape == (320, 480, 3)  # eight times as large, to be read
    assert (drawn['truth'][20, 450] != drawn['student'][20, 450]).any()
    assert (drawn['truth'][300, 450] == drawn['student'][300, 450]).all()
    assert sample.gt_sem_seg.data.shape == (1, 40, 60)


def test_boxes_are_drawn(picture, tmp_path):
    kind = predictions.kind_of(build(model_config('det')))
    sample = detections(picture, [([40., 10., 55., 25.], 1, .9)])
    truth = predictions.draw_sample(kind, sample, META, truth=True)
    found = predictions.draw_sample(kind, sample, META, truth=False)
    assert truth.shape == found.shape == (320, 480, 3)
    assert truth[80:160, 0:80].std() > 0 and found[:75, :75].std() == 0
    assert found[75:205, 310:445].std() > 0 and truth[75:100, 330:445].std() == 0
    assert (sample.gt_instances.bboxes[1] == torch.tensor([20., 20., 30., 30.])).all()
    predictions.draw([dict(truth=(truth, ''), student=(found, '0 of 2'))], tmp_path / 'b.png')
    assert (tmp_path / 'b.png').read_bytes()[1:4] == b'PNG'


def test_a_classifier_is_refused():
    with pytest.raises(ConfigError, match='neither detects nor segments'):
        predictions.kind_of(build(model_config('cls')))


def test_colours_of_ten_classes_are_told_apart():
    """Those of the demo, on black too."""
    palette = np.array(predictions.dataset_meta(dict(classes=tuple('0123456789')))['palette'])
    colours = np.concatenate([palette, [[0, 0, 0]]])
    apart = np.linalg.norm(colours[:, None] - colours, axis=-1)
    assert apart[~np.eye(11, dtype=bool)].min() > 60


def test_palette():
    assert META['palette'][0] == (0, 0, 0) and len(set(META['palette'])) == 3
    own = dict(classes=('a', ), palette=[(1, 2, 3)])
    assert predictions.dataset_meta(own) == own
    of_others = dict(own, classes=('background', 'a'))  # as COCO's for ten classes of one's own
    assert predictions.dataset_meta(of_others)['palette'][0] == (0, 0, 0)
