"""The runs on CIFAR-100: recipes whose schedule is shorter and nothing else, and what they keep."""
import copy
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, OPTIM_WRAPPERS
from mmpretrain.structures import DataSample
from torch import nn

import mmdistill_ext  # noqa: F401

# isort: split
from mmrazor.models.losses import ChannelWiseDivergence

from mmdistill_ext.errors import ConfigError
from projects.study import bf16, cifar, real_page, real_results, real_run  # noqa: F401
from projects.study.real_rows import EPOCHS, ROWS, Run, config_of, made_of
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
    recipe = Config.fromfile(HOME / row.recipe)
    config = config_of(Run(name, 3), tmp_path)
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
    assert len(ramps) == (0 if row.alone else len(recipe.get('custom_hooks', [])))
    for ramp in ramps:
        phase, = ramp.phases
        assert not ramp.by_epoch and phase.begin == 0 and phase.stop == 1
        assert (phase.end + 1) / total == pytest.approx(20 / 240, abs=1 / total)
        assert phase.start == pytest.approx(1 / (phase.end + 1))


def test_what_a_result_is_made_of(tmp_path):
    """Not where things lie; but seed, weights and schedule."""
    config = config_of(Run('fcfd', 0), tmp_path)
    same = config_of(Run('fcfd', 0), tmp_path / 'elsewhere')
    same.model.teacher_ckpt = '/data/teachers/resnet56.pth'
    assert made_of(config) == made_of(same)
    other = config_of(Run('fcfd', 1), tmp_path)
    longer = config_of(Run('fcfd', 0), tmp_path, epochs=24)
    weaker = config_of(Run('fcfd', 0), tmp_path)
    weaker.model.loss_mse.loss_weight = .01
    hashes = {made_of(each) for each in (config, other, longer, weaker)}
    assert len(hashes) == 4
    assert made_of(config_of(Run('student', 0), tmp_path)) not in hashes


def test_bfloat16_on_a_processor():
    """The forward and its gradient are bfloat16's; weights and the step stay in float32."""
    torch.manual_seed(0)
    data, net = torch.randn(8, 4), nn.Linear(4, 3)
    plain = copy.deepcopy(net)
    wrapper = OPTIM_WRAPPERS.get('BFloat16OptimWrapper')(
        optimizer=torch.optim.SGD(net.parameters(), lr=.1))
    with wrapper.optim_context(net):
        loss = net(data).square().mean()
    wrapper.update_params(loss)

    rounded = [x.bfloat16() for x in (data, plain.weight, plain.bias)]
    nn.functional.linear(*rounded).square().mean().backward()
    for mine, theirs in zip(net.parameters(), plain.parameters()):
        assert mine.dtype == torch.float32
        assert torch.equal(mine, theirs - .1 * theirs.grad)


def test_similar_class_maps_differ_as_in_float32():
    """CWD of two maps whose logits differ by a tenth: a softmax in bfloat16 cannot tell."""
    torch.manual_seed(0)
    ours = torch.randn(1, 4, 22, 22).bfloat16()
    theirs = (ours.float() + .1 * torch.randn(1, 4, 22, 22)).bfloat16()
    log_t, log_s = ((x.double().flatten(2) / 4).log_softmax(2) for x in (theirs, ours))
    expected = 16 * (log_t.exp() * (log_t - log_s)).sum(2).mean()
    wrapper = OPTIM_WRAPPERS.get('BFloat16OptimWrapper')(
        optimizer=torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=.1))
    with wrapper.optim_context(nn.Identity()):
        found = ChannelWiseDivergence(tau=4)(ours, theirs)
    assert found.item() == pytest.approx(expected.item(), rel=1e-3)


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
    rest = DATASETS.build(dict(build, fold='train'))
    assert [int(item['gt_label']) for item in rest] == [4, 3, 2, 1, 0]
    held_out, = DATASETS.build(dict(build, fold='held out'))
    assert held_out['gt_label'] == 5


def test_what_is_missing_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        real_run.cli.main(lambda _: real_run.main([]), resumable=True)
    said = capsys.readouterr().err
    assert error.value.code == 2 and len(said.splitlines()) == 1
    assert said.startswith('ERROR: no CIFAR-100 in data/cifar100: unpack')


def empty_pages():
    for page in (real_results.PAGE, real_results.README):
        page.parent.mkdir(exist_ok=True)
        page.write_text('<!-- cifar100 -->\n<!-- cifar100 -->\n')


def test_what_is_left_to_run_and_the_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = real_results.OUT / 'student/seed-0'
    folder.mkdir(parents=True)
    made = made_of(config_of(Run('student', 0), folder))
    result = dict(Run('student', 0)._asdict(), last=55.3, best=55.3, curve=[[12, 55.3]], step=.1,
                  made_of=made)
    (folder / 'result.json').write_text(json.dumps(result))
    assert real_run.missing(['student', 'fcfd'], 2) == [
        Run('student', 1), Run('fcfd', 0), Run('fcfd', 1)]
    empty_pages()
    real_results.gather()
    assert json.loads(real_results.RECORD.read_text()) == {'student/seed-0': result}
    (folder / 'result.json').unlink()  # on another machine the record is what there is
    assert real_run.missing(['student'], 2) == [Run('student', 1)]
    (folder / 'result.json').write_text(json.dumps(dict(result, made_of='of another recipe')))
    assert real_run.missing(['student'], 1) == []
    real_results.RECORD.unlink()
    assert real_run.missing(['student'], 1) == [Run('student', 0)]
    assert (real_results.LOGS / 'student-0.json').is_file()


def test_a_result_of_another_recipe_is_not_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'docs/images').mkdir(parents=True)
    stored = {}
    for seed, last in enumerate((50., 99.)):
        run = Run('student', seed)
        stored[run.folder] = dict(run._asdict(), last=last, best=last,
                                  made_of=real_results.recipe_of(run))
    stored['student/seed-1']['made_of'] = 'of another recipe'
    real_results.RECORD.write_text(json.dumps(stored))
    assert list(real_results.results()) == ['student/seed-0']
    stale = real_results.OUT / 'student/seed-0'  # made here with another recipe; the record's fits
    stale.mkdir(parents=True)
    (stale / 'result.json').write_text(json.dumps(dict(stored['student/seed-1'], seed=0)))
    assert real_results.results()['student/seed-0']['last'] == 50


def test_a_run_that_ended_alone_is_gathered_by_the_next_command(tmp_path, monkeypatch):
    """Also where nothing is left to run, and where the data are not at hand any more."""
    monkeypatch.chdir(tmp_path)
    empty_pages()
    run = Run('student', 0)
    folder = real_results.OUT / run.folder
    folder.mkdir(parents=True)
    (folder / 'result.json').write_text(json.dumps(dict(
        run._asdict(), last=55.3, best=55.3, made_of=real_results.recipe_of(run))))
    with pytest.raises(ConfigError, match='no CIFAR-100 in'):
        real_run.main([])
    assert '| student alone, ResNet-20 | 55.30 |' in real_results.PAGE.read_text()


def test_another_teacher_is_told_apart(tmp_path, monkeypatch):
    """RepDistiller's ResNet-56 is converted to a file of the same name."""
    weights = dict(b=torch.arange(3.), a=torch.ones(2), count=torch.tensor(7))
    first, second = tmp_path / 'first.pth', tmp_path / 'second.pth'
    torch.save(dict(state_dict=weights), first)
    torch.save(dict(sorted(weights.items()), count=torch.tensor(8)), second)
    assert real_run.sum_of(first) == real_run.sum_of(second)  # order and counts are no weights
    torch.save(dict(weights, a=torch.tensor([1., 1.5])), second)
    assert real_run.sum_of(first) != real_run.sum_of(second)
    monkeypatch.setattr(real_run, 'DATA', tmp_path)
    monkeypatch.setattr(real_run, 'TEACHER', second)
    (tmp_path / 'cifar-100-python').mkdir()
    (tmp_path / 'cifar-100-python/train').touch()
    with pytest.raises(ConfigError, match='is not the one of the recorded runs'):
        real_run.check_data()


@pytest.mark.train
def test_a_run_that_was_cut_or_is_of_another_recipe(data, monkeypatch, capsys):
    """Of twelve epochs on six images. Cut before its last validation, it ends as the whole one;
    one of another recipe is not gone on with; --again trains beside it.
    """
    monkeypatch.chdir(data)
    monkeypatch.setenv('PYTHONPATH', str(HOME))
    (data / 'data/cifar100').mkdir(parents=True)
    (data / 'cifar-100-python').rename(data / 'data/cifar100/cifar-100-python')
    monkeypatch.setattr(real_run, 'TEACHER', data / 'nobody')
    (data / 'nobody').touch()
    monkeypatch.setattr(real_run, 'sum_of', lambda path: real_run.TEACHER_SUM)
    empty_pages()
    folder = real_results.OUT / 'student/seed-0'
    command = ['--rows', 'student', '--seeds', '1']

    def result():
        assert real_run.main(command) == 0, (folder / 'output.txt').read_text()
        found = json.loads((folder / 'result.json').read_text())
        return {key: found[key] for key in ('last', 'best', 'curve', 'made_of')}

    whole = result()
    assert [epoch for epoch, _ in whole['curve']] == [2, 4, 6, 8, 10, 12]
    (folder / 'result.json').unlink()
    real_results.RECORD.unlink()
    scalars, = folder.glob('*/vis_data/scalars.json')
    lines = scalars.read_text().splitlines(keepends=True)
    assert 'accuracy' in lines[-1]
    scalars.write_text(''.join(lines[:-1]))
    assert result() == whole

    (folder / 'made_of').write_text('of another recipe')
    (folder / 'result.json').unlink()
    real_results.RECORD.unlink()
    assert result() == whole
    scalars, = folder.glob('*/vis_data/scalars.json')  # the old log is gone
    assert len(scalars.read_text().splitlines()) == len(lines)

    capsys.readouterr()
    assert real_run.main([*command, '--again']) == 0
    assert f'student/seed-0: {whole["last"]:.2f} (recorded: {whole["last"]:.2f})' in \
        capsys.readouterr().out
    assert real_run.missing(['student'], 1, real_run.AGAIN) == []


@pytest.mark.train
def test_a_second_process_takes_another_run(tmp_path, monkeypatch):
    """Two in one folder would write over each other's checkpoints."""
    monkeypatch.chdir(tmp_path)
    runs = [Run('student', 0), Run('student', 1)]
    first, held = real_run.claim(runs)
    assert first == runs[0]
    code = ('from projects.study import real_results, real_run; '
            'from projects.study.real_rows import Run; '
            f'runs = [Run(*run) for run in {[list(run) for run in runs]}]; '
            'print(real_run.claim(runs)[0].seed)')
    asked = [sys.executable, '-c', f'import mmdistill_ext; {code}']
    environment = dict(os.environ, PYTHONPATH=str(HOME))
    assert subprocess.check_output(asked, env=environment, text=True).split()[-1] == '1'
    result = dict(first._asdict(), made_of=made_of(config_of(first, tmp_path)))
    (real_results.OUT / first.folder / 'result.json').write_text(json.dumps(result))
    held.close()
    # The first is done, and the second's process has ended.
    again, held = real_run.claim(runs)
    assert again == runs[1]
    held.close()


@pytest.mark.train
def test_a_run_that_outlives_who_started_it_is_still_claimed(tmp_path, monkeypatch):
    """A study that was killed leaves its run behind, which goes on writing checkpoints."""
    monkeypatch.chdir(tmp_path)
    run = Run('student', 0)
    _, held = real_run.claim([run])
    with monkeypatch.context() as patch:  # the run sleeps; how it is started is the study's
        patch.setattr(real_run.subprocess, 'call', lambda _, **how: subprocess.Popen(
            [sys.executable, '-c', 'import time; time.sleep(600)'], **how))
        process = real_run.train_apart(run, held)
    held.close()
    claimed = real_run.claim([run])
    process.kill()
    process.wait()
    assert claimed is None
    _, held = real_run.claim([run])
    held.close()


def record(row, *figures):
    return {f'{row}/seed-{seed}': dict(row=row, seed=seed, last=last, best=last + 1, step=.1)
            for seed, last in enumerate(figures)}


def test_the_table(tmp_path):
    """A figure with one seed, a spread with more; gains of the student that was trained alike."""
    results = {**record('student', 50., 52.), **record('fcfd', 53., 57.), **record('tffd', 60.)}
    lines = real_page.lines_of(results)
    student, fcfd, tffd = lines[2:5]
    assert student == '| student alone, ResNet-20 | 51.00 ± 1.41 | 52.00 ± 1.41 | 2 |  | 69.06 |'
    # Differences 3 and 5: mean 4, deviation sqrt(2), Student's t at 97.5% with 1 degree: 12.706
    assert fcfd == ('| FCFD, 2 paths | 55.00 ± 2.83 | 56.00 ± 2.83 | 2 | +4.00 (-8.71 to +16.71) '
                    '| 71.96 |')
    assert tffd == '| Tf-FD, released | 60.00 | 61.00 | 1 |  | 70.62 |'
    assert lines[-1].startswith("Not run yet: KD; channel MLP; student alone, Tf-FD's training;")

    pages = [tmp_path / 'docs/results.md', tmp_path / 'README.md']
    (tmp_path / 'docs/images').mkdir(parents=True)
    for page in pages:
        page.write_text('before\n<!-- cifar100 -->\nold\n<!-- cifar100 -->\nafter\n')
    real_page.write(results, *pages)
    assert (tmp_path / 'docs' / real_page.PICTURE).read_bytes()[1:4] == b'PNG'
    said = pages[1].read_text().splitlines()
    assert said[2] == (
        "CIFAR-100, ResNet-56 -> ResNet-20, 12 of the recipes' 240 epochs on a processor. Top-1 of "
        'the student alone: 51.00 ± 1.41. What methods add to one that is trained alike, '
        '95% intervals: '
        'FCFD, 2 paths +4.00 (-8.71 to +16.71).')


def test_rows_are_compared_with_each_other_where_both_are_there():
    """By hand: 2 and 5, mean 3.5, deviation sqrt(4.5), and 12.706 as above."""
    results = {**record('kd', 51., 52.), **record('fcfd', 53., 57.), **record('mlp', 60.)}
    line, = (line for line in real_page.lines_of(results) if line.startswith('- One row'))
    assert line == ('- One row over another, paired by seed: '
                    'FCFD, 2 paths over KD +3.50 (-15.56 to +22.56).')


def test_the_pages_say_what_is_recorded():
    results = json.loads((HOME / real_results.RECORD).read_text())
    table = '\n'.join(real_page.lines_of(results))
    assert f'<!-- cifar100 -->\n{table}\n' in (HOME / real_results.PAGE).read_text()
    assert real_page.sentence(results) in (HOME / real_results.README).read_text()


def test_the_best_student_at_hand_is_published(tmp_path, monkeypatch):
    """Seed 0, the best, was run elsewhere; of seeds 1 and 2 the better one, as a plain student."""
    monkeypatch.chdir(tmp_path)
    real_results.LOGS.mkdir(parents=True)
    for seed in (1, 2):
        folder = real_results.OUT / f'fcfd/seed-{seed}'
        folder.mkdir(parents=True)
        torch.save(dict(state_dict={'architecture.w': torch.tensor([float(seed)]),
                                    'bridges.w': torch.zeros(1)}, optimizer=dict(a=1)),
                   folder / 'epoch_12.pth')
        (folder / 'last_checkpoint').write_text(str(folder / 'epoch_12.pth'))
    real_results.publish('fcfd', record('fcfd', 59., 53.))
    assert [path.name for path in real_results.LOGS.iterdir()] == ['fcfd-1.pth']
    real_results.publish('fcfd', record('fcfd', 59., 53., 54.))
    path, = real_results.LOGS.iterdir()
    published = torch.load(path, weights_only=True)
    assert path.name == 'fcfd-2.pth' and sorted(published) == ['meta', 'state_dict']
    assert published['state_dict'] == dict(w=torch.tensor([2.]))
    real_results.publish('fcfd', record('fcfd', 59., 53.))  # seed 2's recipe has changed since
    assert [path.name for path in real_results.LOGS.iterdir()] == ['fcfd-1.pth']
    real_results.publish('fcfd', {})
    assert real_results.published({}) == []


@pytest.mark.parametrize('name', ROWS)
def test_each_row_takes_a_step(name, tmp_path):
    config = config_of(Run(name, 0), tmp_path)
    if 'teacher_ckpt' in config.model:
        config.model.teacher_ckpt = None
        if config.model.type != 'SingleTeacherDistill':  # MMRazor's, which asks nothing
            config.model.random_teacher = True
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    batch = dict(inputs=torch.randint(256, (4, 3, 32, 32)).float(),
                 data_samples=[DataSample().set_gt_label(i) for i in range(4)])
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    student = getattr(model, 'architecture', model)
    before = {key: value.clone() for key, value in student.named_parameters()}
    log = model.train_step(batch, wrapper)
    assert all(np.isfinite(float(value)) for value in log.values())
    unmoved = [key for key, value in student.named_parameters() if torch.equal(value, before[key])]
    assert unmoved == []


def test_a_factor_is_chosen_on_images_held_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    factors = ROWS['mlp'].values
    runs = real_run.missing(['mlp'], 1)
    assert [(run.factor, run.choice) for run in runs] == [(value, True) for value in factors]
    recipe = Config.fromfile(HOME / ROWS['mlp'].recipe)
    for run in runs:
        config = config_of(run, tmp_path)
        weight = recipe.model.distiller.links.loss_stage3.loss.loss_weight
        link, = config.model.distiller.links.values()
        assert link.loss.loss_weight == pytest.approx(run.factor * weight)
        assert config.train_dataloader.dataset.fold == 'train'
        judged = config.val_dataloader.dataset
        assert (judged.split, judged.fold) == ('train', 'held out')
        assert judged.pipeline == recipe.val_dataloader.dataset.pipeline
        assert config.train_cfg.max_epochs == 4
        folder = real_results.OUT / run.folder
        folder.mkdir(parents=True)
        (folder / 'result.json').write_text(json.dumps(dict(
            run._asdict(), last=50 - abs(run.factor - 3), made_of=made_of(config))))
    run, = real_run.missing(['mlp'], 1)
    assert run == Run('mlp', 0, 3.) and run.folder == 'mlp/seed-0'
    assert config_of(run, tmp_path).train_dataloader.dataset.get('fold') is None
    said = '\n'.join(real_page.lines_of(real_results.results()))
    assert 'Not run yet:' in said and 'channel MLP;' in said
    # 5,000 images, half of them right: a standard error of 0.71 points; 2 points are more than two
    assert '3: 50.00, 10: 43.00. Chosen: 3.\n' in said


def test_each_checkpoint_in_the_repository_is_listed_with_its_figure():
    record = json.loads((HOME / real_results.RECORD).read_text())
    models = yaml.safe_load((HOME / real_results.LOGS / 'metafile.yml').read_text())['Models']
    assert sorted(model['Weights'] for model in models) == sorted(
        str(path.relative_to(HOME)) for path in (HOME / real_results.LOGS).glob('*.pth'))
    for model in models:
        row, seed = model['Name'].split('-')
        figure = model['Results'][0]['Metrics']['Top 1 Accuracy']
        assert figure == round(record[f'{row}/seed-{seed}']['last'], 2)
        assert (HOME / model['Config']).is_file() and (HOME / model['Metadata']['Recipe']).is_file()
