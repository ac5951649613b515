"""What the tools load: whole distillations or students, test data or given files."""
import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope

from mmdistill_ext.analysis import data, loading
from mmdistill_ext.errors import ConfigError
from tests.small import CLS, batch, build, model_config
from tests.tools.toy import write


def distillation(**teacher):
    return dict(
        _scope_='mmrazor', type='LeanTeacherDistill', architecture=model_config('cls', 4),
        teacher=dict(model_config('cls'), **teacher), random_teacher=True,
        distiller=dict(type='LinkDistiller', links=dict(loss_f=dict(
            student='backbone', teacher='backbone', connector='MLPConnector',
            loss=dict(type='FeatureL2Loss')))))


def test_a_distillation_is_loaded_whole_or_not_at_all(tmp_path):
    model = build(distillation())
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'a.pth')
    cfg = Config(dict(model=distillation()))
    loaded = loading.load_algorithm(cfg, str(tmp_path / 'a.pth'))
    assert not loaded.training
    for key, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[key])

    state = model.state_dict()
    del state[next(key for key in state if 'connectors' in key)]
    torch.save(dict(state_dict=state), tmp_path / 'b.pth')
    torch.save(dict(state_dict=model.student.state_dict()), tmp_path / 'student.pth')
    for config, path, said in (
            (distillation(), 'b.pth', 'does not fit the distillation LeanTeacherDistill.*missing'),
            (distillation(), 'student.pth', 'holds the student alone'),
            (model_config('cls', 4), 'student.pth', "'ImageClassifier'; a distillation")):
        with pytest.raises(ConfigError, match=said):
            loading.load_algorithm(Config(dict(model=config)), str(tmp_path / path))


def test_the_teacher_gets_its_own_normalisation():
    own = dict(CLS['data_preprocessor'], mean=[0.] * 3, std=[1.] * 3)
    model = loading.build(Config(dict(model=distillation(data_preprocessor=own))))
    images = [torch.full((3, 8, 8), 180, dtype=torch.uint8)]
    ready = loading.prepare(model, dict(batch('cls', images=1), inputs=images))
    assert ready.student.unique().tolist() == [1] and ready.teacher.unique().tolist() == [180]


def test_a_data_preprocessor_beside_the_model_counts():
    """mmpretrain's configs have theirs there."""
    model, images = model_config('cls'), [torch.full((3, 8, 8), 50, dtype=torch.uint8)]
    del model['data_preprocessor']
    cfg = Config(dict(model=model, data_preprocessor=dict(
        type='mmpretrain.ClsDataPreprocessor', mean=[0.] * 3, std=[10.] * 3)))
    ready = loading.prepare(loading.build(cfg), dict(batch('cls', images=1), inputs=images))
    assert ready.student.unique().tolist() == [5]


def test_pictures(tmp_path):
    cfg = Config.fromfile(write(tmp_path))
    cfg.test_dataloader.dataset.pipeline = [
        dict(type='LoadOnce', transforms=[dict(type='LoadImageFromFile'),
                                          dict(type='mmdet.LoadAnnotations')]),
        dict(type='PackInputs')]
    given = tmp_path / 'mine.png'
    cv2.imwrite(str(given), np.full((9, 7, 3), (10, 20, 30), np.uint8))  # BGR
    import mmdistill_ext.datasets  # noqa: F401, LoadOnce
    init_default_scope('mmpretrain')
    mine, = data.pictures(cfg, 6, [str(given)])
    assert data.shown(cfg, mine).shape == (9, 7, 3)
    assert data.shown(cfg, mine)[0, 0].tolist() == [30, 20, 10]
    assert data.name(mine, 5) == str(given)
    with pytest.raises(ConfigError, match='no picture at gone.png'):
        data.pictures(cfg, 6, ['gone.png'])
    (tmp_path / 'text.png').write_text('no picture')
    with pytest.raises(ConfigError, match='text.png is no picture'):
        data.pictures(cfg, 6, [str(tmp_path / 'text.png')])

    cfg.test_dataloader.dataset.pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    labels = [int(each['data_samples'][0].gt_label) for each in data.pictures(cfg, 4)]
    assert labels == [0, 0, 1, 1]  # of eight pictures, the first four of class 0
    sizes = [len(each['inputs']) for each in data.batches(cfg, 6)]
    assert sizes == [4, 2] and data.metainfo(cfg)['classes'] == ('a', 'b')
    assert sum(len(each['inputs']) for each in data.batches(cfg, 100)) == 8
    with pytest.raises(ConfigError, match='--images is 1 or more, found 0'):
        data.batches(cfg, 0)


class InMemory(BaseDataset):
    """As CIFAR: arrays in RGB, no files."""
    METAINFO = dict(classes=('a', ))

    def load_data_list(self):
        return [dict(img=np.full((4, 5, 3), (30, 20, 10), np.uint8), gt_label=0)] * 3


def test_pictures_of_data_without_files(tmp_path):
    import mmpretrain.datasets  # noqa: F401, PackInputs
    init_default_scope('mmpretrain')
    cfg = Config(dict(test_dataloader=dict(dataset=dict(
        type=InMemory, pipeline=[dict(type='PackInputs')]))))
    cv2.imwrite(str(tmp_path / 'mine.png'), np.full((9, 7, 3), (10, 20, 30), np.uint8))  # BGR
    mine, = data.pictures(cfg, 6, [str(tmp_path / 'mine.png')])
    for each in (mine, *data.pictures(cfg, 2)):
        assert each['inputs'][0][:, 0, 0].tolist() == [30, 20, 10]  # as in training
        assert data.shown(cfg, each)[0, 0].tolist() == [30, 20, 10]
    assert data.name(mine, 0) == str(tmp_path / 'mine.png')
    assert [data.name(each, 7) for each in data.pictures(cfg, 2)] == ['picture 0', 'picture 2']
