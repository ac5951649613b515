"""The runs on CIFAR-100: recipes whose schedule is shorter and nothing else, and what they keep."""
import json
import pickle

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import DATASETS, OPTIM_WRAPPERS
from torch import nn

import mmdistill_ext  # noqa: F401
from projects.study import bf16, cifar, real_run  # noqa: F401
from projects.study.real_rows import EPOCHS, ROWS, config_of, made_of
from projects.where import HOME

CHANGED = {'train_dataloader', 'val_dataloader', 'test_dataloader', 'optim_wrapper', 'train_cfg',
           'param_scheduler', 'custom_hooks', 'default_hooks', 'randomness', 'work_dir', 'resume'}


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key != '_scope_'}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize('name', ROWS)
def test_a_row_is_its_recipe_with_a_shorter_schedule(name, tmp_path):
    row = ROWS[name]
    recipe = Config.fromfile(HOME / 'configs' / row.recipe)
    config = config_of(row, 3, tmp_path)
    assert config.randomness.seed == 3 and config.train_cfg.max_epochs == EPOCHS
    for key in set(recipe) - CHANGED - {'model'}:
        assert plain(config[key]) == plain(recipe[key]), key
    model = recipe.model.architecture if row.alone else recipe.model
    assert plain(config.model) == plain(model)
    assert plain(config.optim_wrapper.optimizer) == plain(recipe.optim_wrapper.optimizer)
    batch = recipe.train_dataloader.batch_size
    assert config.train_dataloader.batch_size == batch
    assert plain(config.train_dataloader.dataset.pipeline) == \
        plain(recipe.train_dataloader.dataset.pipeline)
    total = EPOCHS * int(np.ceil(50000 / batch))
    assert not config.param_scheduler.by_epoch
    for short, whole in zip(config.param_scheduler.milestones, recipe.param_scheduler.milestones):
        assert short / total == pytest.approx(whole / 240, abs=1 / total)
    ramps = [hook for hook in config.custom_hooks if 'LossWeight' in hook.type]
    assert len(ramps) == (0 if row.alone else len(recipe.custom_hooks))
    for ramp in ramps:
        phase, = ramp.phases
        assert not ramp.by_epoch and phase.begin == 0 and phase.stop == 1
        assert (phase.end + 1) / total == pytest.approx(20 / 240, abs=1 / total)
        assert phase.start == pytest.approx(1 / (phase.end + 1))


def test_what_a_result_is_made_of(tmp_path):
    """Not where things lie; but seed, weights and schedule."""
    config = config_of(ROWS['fcfd'], 0, tmp_path)
    same = config_of(ROWS['fcfd'], 0, tmp_path / 'elsewhere')
    same.model.teacher_ckpt = '/data/teachers/resnet56.pth'
    assert made_of(config) == made_of(same)
    other = config_of(ROWS['fcfd'], 1, tmp_path)
    longer = config_of(ROWS['fcfd'], 0, tmp_path, epochs=24)
    weaker = config_of(ROWS['fcfd'], 0, tmp_path)
    weaker.model.loss_mse.loss_weight = .01
    hashes = {made_of(each) for each in (config, other, longer, weaker)}
    assert len(hashes) == 4
    assert made_of(config_of(ROWS['student'], 0, tmp_path)) not in hashes


def test_bfloat16_on_a_processor():
    """The forward runs in bfloat16; weights and the step stay in float32, close to float32's."""
    torch.manual_seed(0)
    data, after, seen = torch.randn(8, 4), [], []

    class Net(nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            seen.append(y.dtype)
            return y

    for kind in (OptimWrapper, OPTIM_WRAPPERS.get('BFloat16OptimWrapper')):
        torch.manual_seed(1)
        net = Net(4, 3)
        wrapper = kind(optimizer=torch.optim.SGD(net.parameters(), lr=.1))
        with wrapper.optim_context(net):
            loss = net(data).square().mean()
        wrapper.update_params(loss)
        after.append(net.weight.detach())
    assert seen == [torch.float32, torch.bfloat16] and after[1].dtype == torch.float32
    assert not torch.equal(*after) and torch.allclose(*after, atol=1e-2)


@pytest.fixture
def data(tmp_path):
    """Files of CIFAR-100's form whose md5 sums are nobody's."""
    folder = tmp_path / 'cifar-100-python'
    folder.mkdir()
    for split in ('train', 'test'):
        entry = dict(data=np.arange(6 * 3072).reshape(6, 3072).astype(np.uint8),
                     fine_labels=[5, 4, 3, 2, 1, 0])
        (folder / split).write_bytes(pickle.dumps(entry))
    names = dict(fine_label_names=[f'class {i}' for i in range(100)])
    (folder / 'meta').write_bytes(pickle.dumps(names))
    return tmp_path


def test_cifar_is_read_whatever_its_sums(data):
    build = dict(type='StudyCIFAR100', data_root=str(data), split='train', pipeline=[])
    whole = DATASETS.build(build)
    assert [int(item['gt_label']) for item in whole] == [5, 4, 3, 2, 1, 0]
    part = DATASETS.build(dict(build, part=(1, 3)))
    assert [int(item['gt_label']) for item in part] == [4, 3]


def test_what_is_missing_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        real_run.cli.main(lambda _: real_run.main([]), resumable=True)
    said = capsys.readouterr().err
    assert error.value.code == 2 and len(said.splitlines()) == 1
    assert said.startswith('ERROR: no CIFAR-100 in data/cifar100: unpack')


def test_what_is_left_to_run_and_the_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'docs').mkdir()
    folder = real_run.OUT / 'student/seed-0'
    folder.mkdir(parents=True)
    made = made_of(config_of(ROWS['student'], 0, folder))
    result = dict(row='student', seed=0, last=55.3, best=55.3, curve=[[12, 55.3]], step=.1,
                  made_of=made)
    (folder / 'result.json').write_text(json.dumps(result))
    assert real_run.missing(['student', 'fcfd'], 2) == [
        ('student', 1), ('fcfd', 0), ('fcfd', 1)]
    real_run.gather()
    assert json.loads(real_run.RECORD.read_text()) == {'student/seed-0': result}
    (folder / 'result.json').unlink()  # on another machine the record is what there is
    assert real_run.missing(['student'], 2) == [('student', 1)]
    (folder / 'result.json').write_text(json.dumps(dict(result, made_of='of another recipe')))
    assert real_run.missing(['student'], 1) == [('student', 0)]
    assert (real_run.LOGS / 'student-0.json').is_file()
