"""The zoo: which configs it takes, what it calls a step, a few families as they are recorded."""
import copy
import json

import pytest
import torch
from mmengine.config import Config

import mmdistill_ext  # noqa: F401
from mmdistill_ext.errors import ConfigError
from projects.where import HOME
from projects.zoo.batch import tiny_batch
from projects.zoo.families import LEFT_OUT, LIBRARIES, config_of, families, folder_of
from projects.zoo.methods import build_link, build_tffd
from projects.zoo.model import build as zoo_build
from projects.zoo.model import load
from projects.zoo.page import lines_of
from projects.zoo.run import append, missing, read, try_family, write
from projects.zoo.step import WrongStep, distill_step
from projects.zoo.trial import Trial, outcome
from tests.models.fcfd.zoo import segmentor
from tests.small import batch, build, model_config

RECORD, PAGE = HOME / 'docs/models.jsonl', HOME / 'docs/models.md'
FEW = [('mmpretrain', 'mobileone'), ('mmpretrain', 'mobilevit')]


def test_the_page_is_what_the_record_makes():
    _, between, _ = PAGE.read_text().split('<!-- zoo -->')
    assert between.strip() == '\n'.join(lines_of(read(RECORD))).strip()


def test_the_record_and_the_page_name_every_family():
    known = {(library, family) for library in LIBRARIES for family in families(library)}
    assert read(RECORD).keys() <= known
    assert all(f'| {family} |' in PAGE.read_text() or f'`{family}`' in PAGE.read_text()
               or f'- {family}: ' in PAGE.read_text() for _, family in known)
    for (library, family), result in read(RECORD).items():
        assert folder_of(library) / result['config'] == config_of(library, family)


@pytest.mark.parametrize('library', LIBRARIES)
def test_every_folder_is_a_family_or_left_out_with_its_reason(library):
    left_out = [name for names in LEFT_OUT[library].values() for name in names]
    assert len(set(left_out)) == len(left_out)
    folders = {path.name for path in folder_of(library).iterdir() if path.is_dir()}
    assert folders == {*families(library), *left_out}


@pytest.mark.parametrize('library, family, name', [
    ('mmpretrain', 'resnet', 'resnet18_8xb32_in1k.py'),
    ('mmpretrain', 'efficientnet', 'efficientnet-b0_8xb32_in1k.py'),
    ('mmpretrain', 'xcit', 'xcit-nano-12-p8_8xb128_in1k.py'),
    ('mmdet', 'retinanet', 'retinanet_r18_fpn_1x_coco.py'),
    ('mmseg', 'segformer', 'segformer_mit-b0_8xb2-160k_ade20k-512x512.py')])
def test_the_smallest_model_of_a_family(library, family, name):
    assert config_of(library, family).name == name


@pytest.mark.train
@pytest.mark.parametrize('library, family', FEW)
def test_a_few_families_do_what_is_recorded(library, family):
    found = try_family(library, family, 300)
    assert found['link']['outcome'] == found['fcfd']['outcome'] == 'works'
    recorded = read(RECORD)[library, family]
    assert dict(found, seconds=0) == dict(recorded, seconds=0)


def algorithm(task='cls', build=build_link, *args):
    model = building(task)
    return build(lambda: copy.deepcopy(model), lambda: building(task, 1), *args)


def building(task, seed=0):
    torch.manual_seed(seed)
    return build(model_config(task))


@pytest.mark.parametrize('task', ['cls', 'seg', 'det'])
def test_a_step_that_teaches(task):
    algo = algorithm(task, build_link, 'backbone')
    assert distill_step(algo, batch(task)) == ['distill.loss_mlp']
    assert distill_step(build_tffd(lambda: building(task)), batch(task)) == [
        'distill.loss_intra', 'distill.loss_inter']


def spoil(part):
    algo = algorithm('cls', build_link, 'backbone')
    loss = algo.distiller.distill_losses['loss_mlp']
    own = loss.forward
    loss.forward = {
        'nan': lambda s, t: own(s, t) * float('nan'),
        'detached': lambda s, t: own(s.detach(), t) + 0 * s.sum(),
        'nan gradient': lambda s, t: own(s, t) + (s * 0).sum().sqrt()}.get(part, own)
    if part == 'teacher':
        forward = algo.teacher.backbone.forward

        def moving(*args):
            algo.teacher.head.fc.weight.data += 1
            return forward(*args)

        algo.teacher.backbone.forward = moving
    return algo


@pytest.mark.parametrize('part, message', [
    ('nan', 'loss, distill.loss_mlp is no number'),
    ('detached', 'the distillation losses: no gradient reaches the student'),
    ('nan gradient', "the distillation losses: a gradient of the student's is no number"),
    ('teacher', 'the step changes the teacher: head.fc.weight')])
def test_a_step_that_does_not_teach_is_wrong(part, message):
    with pytest.raises(WrongStep) as error:
        distill_step(spoil(part), batch('cls'))
    assert str(error.value) == message


def test_what_becomes_of_an_attempt():

    def fail(error):
        raise error

    assert outcome(lambda: 1) == dict(outcome='works')
    assert outcome(lambda: fail(ConfigError('no'))) == dict(outcome='refused', reason='no')
    assert outcome(lambda: fail(WrongStep('nan'))) == dict(outcome='wrong', reason='nan')
    assert outcome(lambda: fail(KeyError('x\ny'))) == dict(
        outcome='traceback', reason="KeyError: 'x\\ny'")


def test_the_first_place_that_works_is_recorded(monkeypatch):
    trial = Trial('mmdet', 'retinanet')
    trial.config, trial.student, trial.teacher = \
        Config(dict(default_scope='mmdet')), building('det'), building('det', 1)
    trial.batch = batch('det')
    assert trial.link() == dict(place='neck', outcome='works')
    trial.student.neck.requires_grad_(False)
    trial.student.backbone.requires_grad_(False)
    refused = trial.link()
    assert refused['place'] == 'neck' and refused['outcome'] == 'refused'
    assert 'no gradient' in refused['reason']


def test_tf_fd_on_what_a_backbone_returns_where_its_stages_will_not_do():
    trial = Trial('mmseg', 'hrnet')
    trial.student, trial.batch = build(segmentor('HRNet')), batch('seg')
    refused = outcome(lambda: build_tffd(trial.a_student))
    assert refused['outcome'] == 'refused' and 'is larger; name them in that' in refused['reason']
    assert trial.tffd() == dict(outcome='works')


def test_a_trial_tries_what_a_library_trains():
    student = zoo_build(load(config_of('mmpretrain', 'levit')), 0)
    assert student.head.distillation is False
    assert 'masks' not in batch_keys('retinanet') and 'masks' in batch_keys('mask_rcnn')


def batch_keys(family):
    return tiny_batch(load(config_of('mmdet', family)), 64)['data_samples'][0].gt_instances.keys()


def result(library, family, **fields):
    return dict(library=library, family=family, config=f'{family}/{family}_r50.py',
                alone=dict(outcome='works'), parameters=1_500_000, pixels=128, **fields)


RESULTS = {
    ('mmdet', 'a'): result('mmdet', 'a', link=dict(place='neck', outcome='works'),
                           fcfd=dict(type='FCFDRoI', outcome='works'), tffd=None),
    ('mmdet', 'b'): result('mmdet', 'b', link=dict(place='neck', outcome='refused', reason='x | y'),
                           fcfd=dict(type='FCFDDense', outcome='traceback', reason='KeyError: 1'),
                           tffd=dict(outcome='works')),
    ('mmdet', 'c'): result('mmdet', 'c', link=dict(place='neck', outcome='works'),
                           stopped='stopped after 9 s'),
    ('mmseg', 'd'): dict(library='mmseg', family='d', config='d/d.py',
                         alone=dict(outcome='traceback', reason='KeyError: 2'))}


def test_tables_and_totals():
    text = '\n'.join(lines_of(RESULTS))
    assert '| Detectors (mmdet) | 3 | 2 of 3 | 1 of 3 | 1 of 2 | 3 |' in text
    assert '| all | 3 | 2 of 3 | 1 of 3 | 1 of 2 | 3 |' in text
    assert '| a | `a_r50` | 1.5 | `neck` | yes | yes, `FCFDRoI` | – |  |' in text
    assert '| no | **fails** | yes | link: x / y<br>FCFD: KeyError: 1 |' in text
    assert '| yes | **fails** | **fails** | stopped after 9 s |' in text
    assert '- d: KeyError: 2' in text


def test_an_interrupted_run_goes_on(tmp_path):
    path = tmp_path / 'results.jsonl'
    for key in reversed(RESULTS):
        append(path, RESULTS[key])
    append(path, dict(RESULTS['mmdet', 'a'], pixels=7))
    results = read(path)
    assert list(results) == sorted(RESULTS) and results['mmdet', 'a']['pixels'] == 7
    assert missing([('mmdet', 'a'), ('mmdet', 'z')], results) == [('mmdet', 'z')]
    write(path, results)
    assert [json.loads(line)['family'] for line in path.read_text().splitlines()] == list('abcd')


def test_a_trial_that_takes_too_long_is_stopped():
    found = try_family('mmseg', 'fastscnn', .5)
    assert found == dict(library='mmseg', family='fastscnn', stopped='stopped after 0.5 s')
