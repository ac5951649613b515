"""Reading what mmengine leaves behind, also after a run was killed and resumed."""
import json

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmrazor.registry import MODELS

from mmdistill_ext.analysis import runs
from mmdistill_ext.errors import ConfigError

from ..small import model_config

CLS = model_config('cls')


def write(work_dir, stamp, lines, cut=''):
    folder = work_dir / stamp / 'vis_data'
    folder.mkdir(parents=True)
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (folder / 'scalars.json').write_text(text + cut)


def test_a_killed_and_resumed_run_reads_as_one(tmp_path):
    write(tmp_path, '20260102_030405', [
        dict(loss=2., time=9., step=10), {'accuracy/top1': 10., 'step': 1},
        dict(loss=1., time=.2, step=20), {'accuracy/top1': 20., 'step': 2}],
        cut='{"accuracy/top1": 3')
    write(tmp_path, '20260102_040000', [
        dict(loss=1., time=.3, step=20), {'accuracy/top1': 21., 'step': 2, 'time': 50.},
        {'accuracy/top1': 30., 'step': 3}])
    scalars = runs.read_scalars(tmp_path)
    assert runs.curve(scalars, 'accuracy/top1') == [(1, 10.), (2, 21.), (3, 30.)]
    assert runs.seconds_per_step(scalars) == .3
    assert runs.curve(scalars, 'mIoU') == []


@pytest.mark.parametrize('distilled', [False, True])
def test_the_student_of_a_checkpoint(tmp_path, distilled):
    student = MODELS.build(CLS)
    model = dict(type='mmrazor.BaseAlgorithm', architecture=CLS) if distilled else CLS
    state = student.state_dict(prefix='architecture.' if distilled else '')
    if distilled:
        state['distiller.connectors.a.weight'] = torch.zeros(3)
    torch.save(dict(state_dict=state), tmp_path / 'a.pth')

    loaded = runs.load_student(Config(dict(model=model)), str(tmp_path / 'a.pth'))
    assert not loaded.training
    assert loaded.state_dict().keys() == student.state_dict().keys()
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, student.state_dict()[key])
    assert runs.count_parameters(loaded) == sum(p.numel() for p in student.parameters())


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    torch.save(dict(state_dict=MODELS.build(CLS).state_dict()), tmp_path / 'a.pth')
    other = Config(dict(model=model_config('cls', width=4)))
    with pytest.raises(ConfigError, match='does not fit the student'):
        runs.load_student(other, str(tmp_path / 'a.pth'))


def test_a_folder_without_a_checkpoint_is_no_news(tmp_path):
    """The study asks for hundreds of them, and mmengine logs each that it does not find."""
    log = tmp_path / 'log.txt'
    MMLogger.get_instance('no news', log_file=str(log))
    assert runs.last_checkpoint(tmp_path) is None
    assert log.read_text() == ''
