"""The parts of the commands that need no training; the commands themselves are in tests/tools."""
import pytest
import torch
from mmengine.config import Config

import mmdistill_ext  # noqa: F401
from mmdistill_ext.cli import command as cli
from mmdistill_ext.cli.command import NewFolder
from mmdistill_ext.cli.messages import one_line_message
from mmdistill_ext.errors import ConfigError


def load(tmp_path, text: str, *options: str, needs=()) -> Config:
    (tmp_path / 'a.py').write_text(text)
    return cli.load_config(cli.parser('').parse_args([str(tmp_path / 'a.py'), *options]), needs)


def test_work_dir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load(tmp_path, 'model = dict()').work_dir == './work_dirs/a'
    assert load(tmp_path, 'model = dict()\nwork_dir = "b"').work_dir == 'b'
    assert load(tmp_path, 'model = dict()\nwork_dir = "b"', '--work-dir', 'c').work_dir == 'c'
    assert [p.name for p in tmp_path.iterdir()] == ['a.py']


def test_options_are_merged(tmp_path):
    cfg = load(tmp_path, 'model = dict(a=1, b=[1, 2])', '--cfg-options', 'model.a=2', 'model.b=3,4',
               'randomness.seed=5', '--launcher', 'slurm')
    assert cfg.model == dict(a=2, b=[3, 4]) and cfg.randomness.seed == 5
    assert cfg.launcher == 'slurm'


@pytest.mark.parametrize('text, options, needs, parts', [
    ('model = dict(\n', [], [], ['SyntaxError', 'a.py']),
    ('model = nothing\n', [], [], ['NameError', "'nothing'"]),
    ('model = None\n', [], [], ["has no 'model'"]),
    ('model = dict()\n', [], cli.TRAIN, ["has no 'train_dataloader'"]),
    ('model = dict()\n', ['modle.a=1'], [], ["no 'modle'", "'model'"]),
    ('model = dict()\n', ['model'], [], ['key=value', "'model'"]),
    ('model = [1]\n', ['model.4.a=1'], [], ['model.4.a']),
])
def test_mistakes_are_one_line(tmp_path, text, options, needs, parts):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text, *(['--cfg-options', *options] if options else []), needs=needs)
    line = one_line_message(error.value)
    assert line and '\n' not in line
    for part in parts:
        assert part in line


def test_no_config(tmp_path):
    with pytest.raises(ConfigError, match='no config at .*gone.py'):
        cli.load_config(cli.parser('').parse_args([str(tmp_path / 'gone.py')]), ())


def test_guards_come_once():
    mine = dict(type='mmrazor.FiniteLossHook', action='skip')
    for hooks in (None, [], [mine]):
        cfg = Config(dict(custom_hooks=hooks))
        cli.add_guards(cfg)
        named = {hook.type: hook for hook in cfg.custom_hooks}
        assert set(named) == {'mmrazor.SameClassesHook', 'mmrazor.FiniteLossHook'}
        assert len(cfg.custom_hooks) == 2 and (not hooks or named[mine['type']] == mine)


def test_amp(monkeypatch):
    plain = Config(dict(optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD'))))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ConfigError, match='--amp needs a GPU'):
        cli.use_amp(plain)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    cli.use_amp(plain)
    assert plain.optim_wrapper.type == 'AmpOptimWrapper'
    assert plain.optim_wrapper.loss_scale == 'dynamic'
    several = Config(dict(optim_wrapper=dict(constructor='mmrazor.SeparateOptimWrapperConstructor',
                                             architecture=dict(optimizer=dict(type='SGD')))))
    cli.use_amp(several)
    assert several.optim_wrapper.architecture.type == 'AmpOptimWrapper'
    with pytest.raises(ConfigError, match="found 'ApexOptimWrapper'"):
        cli.use_amp(Config(dict(optim_wrapper=dict(type='ApexOptimWrapper'))))


def test_auto_scale_lr():
    cfg = Config(dict(auto_scale_lr=dict(base_batch_size=16)))
    cli.use_auto_scale_lr(cfg)
    assert cfg.auto_scale_lr.enable is True
    for bad in (dict(), dict(auto_scale_lr=dict(enable=False))):
        with pytest.raises(ConfigError, match='base_batch_size'):
            cli.use_auto_scale_lr(Config(bad))


def test_every_other_error_keeps_its_traceback():
    for error in (KeyError('a'), TypeError('f() missing 1 required positional argument'),
                  ValueError('x'), RuntimeError('x'), AssertionError()):
        try:
            raise error
        except Exception as caught:
            assert one_line_message(caught) is None


def test_a_missing_file_is_said_unless_our_own_code_lost_it(tmp_path):
    try:
        open(tmp_path / 'gone.json')
    except OSError as error:
        assert one_line_message(error) == f'No such file or directory: {tmp_path}/gone.json'
    try:
        exec(compile('open("gone.json")', cli.__file__, 'exec'))
    except OSError as error:
        assert one_line_message(error) is None


def test_new_folder_removes_what_it_made_and_no_more(tmp_path):
    (tmp_path / 'old').mkdir()
    folder = NewFolder(str(tmp_path / 'old/a/b'))
    (tmp_path / 'old/a/b/logs').mkdir(parents=True)
    folder.remove()
    assert (tmp_path / 'old').exists() and not (tmp_path / 'old/a').exists()
    folder = NewFolder(str(tmp_path / 'old/a/b'))
    (tmp_path / 'old/a/b').mkdir(parents=True)
    (tmp_path / 'old/a/other').touch()
    folder.remove()
    assert [p.name for p in (tmp_path / 'old/a').iterdir()] == ['other']
    folder = NewFolder(str(tmp_path / 'old'))
    folder.remove()
    assert (tmp_path / 'old').exists()
