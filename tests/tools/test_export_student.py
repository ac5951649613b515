"""The exported student is loaded by each library's own function, in a Python without the plugin."""
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import save_checkpoint

from mmdistill_ext.checkpoints import student
from mmdistill_ext.errors import ConfigError
from tests.small import build, model_config
from tests.tools.toy import REPO, run

LOADERS = dict(
    det='from mmdet.apis import init_detector; '
        'model = init_detector("config.py", "student.pth", device="cpu")',
    seg='from mmseg.apis import init_model; '
        'model = init_model("config.py", "student.pth", device="cpu")',
    cls='from mmpretrain import get_model; model = get_model("config.py", "student.pth")')
SCOPES = dict(det='mmdet', seg='mmseg', cls='mmpretrain')
DATASETS = dict(det='CocoDataset', seg='CityscapesDataset', cls='ImageNet')


def distilled(task: str) -> torch.nn.Module:
    torch.manual_seed(0)
    place = 'neck' if task == 'det' else 'backbone'
    model = build(dict(
        type='LeanTeacherDistill', architecture=model_config(task, 8), teacher=model_config(
            task, 16), random_teacher=True, save_teacher=True, teacher_fuse_bn=False,
        distiller=dict(type='LinkDistiller', links=dict(loss_feature=dict(
            student=place, teacher=place, connector='MLPConnector', loss='FeatureL2Loss')))))
    for value in model.state_dict().values():  # running statistics too are not what init gives
        if value.is_floating_point():
            value.uniform_(.1, 1)
    return model


def checkpoint_of(model, path) -> str:
    optimizer = torch.optim.SGD(model.parameters(), lr=.1)
    save_checkpoint(dict(
        meta=dict(dataset_meta=dict(classes=('a', 'b'), palette=[(1, 2, 3), (4, 5, 6)]), epoch=3,
                  cfg='model = dict()'),
        state_dict=model.state_dict(), optimizer=optimizer.state_dict(),
        message_hub=dict(runtime_info=dict(best=torch.tensor(1.)))), str(path))
    return str(path)


@pytest.mark.train
@pytest.mark.parametrize('task', ['cls', 'seg', 'det'])
def test_loads_in_the_librarys_own_function(tmp_path, task):
    model = distilled(task)
    path = checkpoint_of(model, tmp_path / 'epoch_3.pth')
    done = run('python', REPO / 'tools/export_student.py', path, '--out', 'student.pth',
               cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    own = {key: value for key, value in model.student.state_dict().items()}
    assert done.stdout == f'{len(own)} weights of the student are in student.pth\n'
    torch.save(own, tmp_path / 'truth.pth')
    config = model_config(task, 8)
    config.pop('_scope_')
    dataset = dict(type=DATASETS[task], data_root='', lazy_init=True, pipeline=[])
    Config(dict(default_scope=SCOPES[task], model=config,
                test_dataloader=dict(dataset=dataset))).dump(tmp_path / 'config.py')
    (tmp_path / 'load.py').write_text(f'''
import sys
import torch
{LOADERS[task]}
assert not any(name.startswith('mmdistill_ext') or name == 'mmrazor' for name in sys.modules)
truth, own = torch.load('truth.pth'), model.state_dict()
assert truth.keys() == own.keys(), truth.keys() ^ own.keys()
assert all(torch.equal(truth[key], own[key]) for key in truth)
meta = getattr(model, 'dataset_meta', None) or model._dataset_meta
assert tuple(meta['classes']) == ('a', 'b'), meta
''')
    loaded = run('python', '-W', 'ignore', 'load.py', cwd=tmp_path)
    assert loaded.returncode == 0, loaded.stderr


def test_what_is_in_the_file(tmp_path):
    model = distilled('cls')
    path = checkpoint_of(model, tmp_path / 'epoch_3.pth')
    count = student.export(path, str(tmp_path / 'new/folder/out.pth'))
    out = torch.load(tmp_path / 'new/folder/out.pth', weights_only=True)
    assert set(out) == {'meta', 'state_dict'} and out['meta']['epoch'] == 3
    assert out['meta']['dataset_meta']['classes'] == ('a', 'b')
    own = model.student.state_dict()
    assert count == len(own) and out['state_dict'].keys() == own.keys()
    assert all(torch.equal(own[key], value) for key, value in out['state_dict'].items())
    assert [p.name for p in (tmp_path / 'new/folder').iterdir()] == ['out.pth']
    mode = (tmp_path / 'new/folder/out.pth').stat().st_mode & 0o777
    assert mode == (tmp_path / 'epoch_3.pth').stat().st_mode & 0o777


def test_no_student_is_refused(tmp_path):
    plain = build(model_config('cls', 8))
    save_checkpoint(dict(meta=dict(), state_dict=plain.state_dict()), str(tmp_path / 'plain.pth'))
    torch.save([1, 2], tmp_path / 'list.pth')
    for name, message in (('plain.pth', 'holds no student'), ('list.pth', 'not a checkpoint'),
                          ('gone.pth', 'no checkpoint at')):
        with pytest.raises(ConfigError, match=message) as error:
            student.export(str(tmp_path / name), str(tmp_path / 'out.pth'))
        assert name in str(error.value)
    assert not (tmp_path / 'out.pth').exists()


def test_a_failed_export_leaves_the_old_file(tmp_path, monkeypatch):
    path = checkpoint_of(distilled('cls'), tmp_path / 'epoch_3.pth')
    (tmp_path / 'out.pth').write_text('old')

    def full(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(OSError, match='No space'):
        student.export(path, str(tmp_path / 'out.pth'))
    assert (tmp_path / 'out.pth').read_text() == 'old'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['epoch_3.pth', 'out.pth']


def test_a_wrapped_model_is_unwrapped(tmp_path):
    model = distilled('cls')
    state = {f'module.{key}': value for key, value in model.state_dict().items()}
    assert student.weights(dict(state_dict=state)).keys() == model.student.state_dict().keys()


def test_fit_names_what_does_not(tmp_path):
    own = build(model_config('cls', 8))
    state = own.state_dict()
    student.check_fit(state, own, 'a.pth')
    del state['backbone.conv1.weight']
    state['head.more'] = torch.zeros(1)
    state['head.fc.weight'] = torch.zeros(2, 3)
    with pytest.raises(ConfigError) as error:
        student.check_fit(state, own, 'a.pth')
    message = str(error.value)
    assert '\n' not in message and message.startswith('a.pth does not fit the student Image')
    for part in ('1 missing (backbone.conv1.weight)', '1 unexpected (head.more)',
                 '1 of another shape (head.fc.weight (2, 3) instead of (5, 64))'):
        assert part in message
