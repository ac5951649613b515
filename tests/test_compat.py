"""Each case in a Python of its own: what is tested is what happens at import."""
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.utils import digit_version

REPO = Path(__file__).parent.parent
IN_CLEAN_PYTHON = '''
import sys
sys.meta_path = [f for f in sys.meta_path if getattr(f, '__name__', '') != '_SkipTables']
import torch

def state():
    """torch as a whole: its version, its modules, and the names in each with what they are."""
    seen = {}
    for name, module in sorted(sys.modules.items()):
        if module is torch or name.startswith('torch.'):
            seen[name] = {k: id(v) for k, v in vars(module).items() if not k.startswith('__')}
    return str(torch.__version__), type(torch.__version__), seen

def assert_same(before, after):
    assert before[:2] == after[:2], (before[:2], after[:2])
    for name, names in before[2].items():
        assert name in after[2], name + ' is gone'
        for k, v in names.items():
            if k == '_marked_safe_globals_set':
                continue  # what torch.serialization.add_safe_globals is there for
            assert after[2][name].get(k) == v, f'{name}.{k} was replaced'
'''


def run(code: str) -> str:
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], cwd=REPO,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.train
def test_mmrazor_alone_does_not_import():
    """Or this file's reason to be is gone."""
    out = run(IN_CLEAN_PYTHON + '''
try:
    import mmrazor.models
except (AttributeError, ImportError) as error:
    print('refused:', error)
''')
    assert out.startswith('refused: ')


@pytest.mark.train
def test_the_issues_own_line():
    out = run('import torch; v = torch.__version__; import mmdistill_ext; '
              'from mmrazor.registry import MODELS; print(MODELS.get("SingleTeacherDistill")); '
              'assert torch.__version__ == v')
    assert 'SingleTeacherDistill' in out


@pytest.mark.train
@pytest.mark.parametrize('library', ['mmdet', 'mmseg', 'mmpretrain'])
def test_who_has_two_of_the_libraries_needs_not_the_third(library):
    run(f'import sys; sys.modules[{library!r}] = None; import mmdistill_ext')


@pytest.mark.train
def test_import_leaves_no_trace():
    torch_parts = run(IN_CLEAN_PYTHON + '''
import mmdistill_ext
print(' '.join(name for name in sys.modules if name.startswith('torch.')))
''').split()
    run(IN_CLEAN_PYTHON + f'names = {torch_parts}' + '''
import importlib
for name in names:  # what is used of torch is imported first: some of its parts change others
    importlib.import_module(name)
before = state()
import mmdistill_ext, mmrazor
assert_same(before, state())
assert mmrazor.digit_version(torch.__version__) >= mmrazor.digit_version('2.0')
from mmrazor.structures.quantization.backend_config import mapping
assert mapping.digit_version is mmrazor.digit_version
''')


@pytest.mark.train
def test_failed_import_leaves_no_trace():
    run(IN_CLEAN_PYTHON + '''
import importlib
compat = {'__name__': 'compat'}
exec(open('mmdistill_ext/compat.py').read(), compat)
compat['let_mmrazor_import']()
import mmrazor.models, torch.nn.intrinsic
before, digit_version = state(), mmrazor.digit_version
name = 'mmrazor.structures.quantization.backend_config.common_operator_config_utils'
utils = sys.modules['mmrazor.utils']
del sys.modules[name]
intrinsic, sys.modules['torch.nn.intrinsic'] = sys.modules['torch.nn.intrinsic'], None
sys.modules['mmrazor.utils'] = None
try:
    importlib.import_module(name)
except ImportError as error:
    assert 'mmrazor.utils' in str(error), error
else:
    raise AssertionError('the import was meant to fail')
sys.modules['mmrazor.utils'], sys.modules['torch.nn.intrinsic'] = utils, intrinsic
assert mmrazor.digit_version is digit_version
assert name not in sys.modules
assert_same(before, state())
importlib.import_module(name)  # and it can be tried again
''')


@pytest.mark.train
def test_hook_is_there_once():
    out = run('import sys, mmdistill_ext; mmdistill_ext.compat.let_mmrazor_import(); '
              'print([getattr(f, "__name__", "") for f in sys.meta_path].count("_SkipTables"))')
    assert out == '1\n'


THEIRS = """
import mmengine.fileio.backends.registry_utils as files
import mmengine.runner, torch
from mmengine.hooks import CheckpointHook
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.utils import package_utils

def theirs():
    found = dict(vars(CheckpointHook))
    found.update(load=torch.load, call_command=package_utils.call_command,
                 install_package=package_utils.install_package,
                 load_url=mmengine.runner.checkpoint.load_url)
    for module in (mmengine.runner, mmengine.runner.checkpoint, mmengine.runner.runner):
        found[module.__name__] = module.find_latest_checkpoint
    found.update((f'scheme {k}', v) for k, v in CheckpointLoader._schemes.items())
    found.update((f'prefix {k}', v) for k, v in files.prefix_to_backends.items())
    found.update((f'backend {k}', v) for k, v in files.backends.items()
                 if not k.startswith('mmdistill_ext'))
    return found

from mmdet.models.task_modules import assigners
def assigner():
    return {n: dict(vars(c)) for n, c in vars(assigners).items() if isinstance(c, type)}
before, assigned = theirs(), assigner()
"""


@pytest.mark.train
@pytest.mark.parametrize('skip', ['', 'reppoints-on-gpu'])
def test_a_guest_replaces_nothing_but_what_the_table_names(monkeypatch, skip):
    monkeypatch.setenv('MMDISTILL_EXT_SKIP_PATCHES', skip)
    assert run(THEIRS + f"""
import sys, mmdistill_ext
assert theirs() == before
now = assigner()
changed = [(n, k) for n in now for k in now[n] if now[n][k] is not assigned[n][k]]
assert changed == ({[] if skip else [('PointAssigner', 'assign')]}), changed
finders = list(sys.meta_path)
mmdistill_ext.compat.enable()
mmdistill_ext.compat._applied.clear()
mmdistill_ext.compat.enable()
assert theirs() == before and assigner() == now and sys.meta_path == finders
""") == ''


@pytest.mark.train
def test_a_wrapper_of_somebody_else_does_not_pass_for_ours():
    assert run("""
import functools
from mmdet.models.task_modules.assigners import PointAssigner

def wrap():
    theirs = PointAssigner.assign
    PointAssigner.assign = functools.wraps(theirs)(lambda *args: theirs(*args))
    return PointAssigner.assign

first = wrap()
import mmdistill_ext
ours = PointAssigner.assign
assert ours.__wrapped__ is first and ours.mmdistill_ext
last = wrap()
mmdistill_ext.compat._applied.clear()
mmdistill_ext.compat.enable()
assert PointAssigner.assign is last and last.__wrapped__ is ours  # not wrapped twice
""") == ''


@pytest.mark.train
def test_leaving_out_patches(monkeypatch):
    code = 'import mmdistill_ext; print(mmdistill_ext.compat.summary())'
    monkeypatch.setenv('MMDISTILL_EXT_SKIP_PATCHES', 'mmrazor-inplace, reppoints-on-gpu')
    left_out = 'left out by MMDISTILL_EXT_SKIP_PATCHES'
    reads = digit_version(torch.__version__) < digit_version('2.6.0')
    assert run(code).strip() == (
        f'mmdistill_ext patches: import-mmrazor{"" if reads else ", load-checkpoints"}; '
        f'not mmrazor-inplace: {left_out}; not reppoints-on-gpu: {left_out}'
        f'{"; not load-checkpoints: torch before 2.6 reads them" if reads else ""}')
    monkeypatch.setenv('MMDISTILL_EXT_SKIP_PATCHES', '')
    said = run(f"import sys; sys.modules['mmdet'] = None; {code}")
    assert 'not reppoints-on-gpu: no mmdet here' in said
    for name, words in (('import-mmrazor', 'ImportError: MMDISTILL_EXT_SKIP_PATCHES leaves out '
                         "'import-mmrazor', without which MMRazor 1.0.0 cannot be imported on"),
                        ('inplace', "no patch is named 'inplace'; expected some of import-")):
        monkeypatch.setenv('MMDISTILL_EXT_SKIP_PATCHES', name)
        done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], cwd=REPO,
                              capture_output=True, text=True)
        assert done.returncode == 1 and words in done.stderr.splitlines()[-1]


def test_the_table_is_printed():
    done = subprocess.run([sys.executable, 'mmdistill_ext/compat.py'], cwd=REPO, text=True,
                          capture_output=True, check=True)
    assert [line.split(':')[0] for line in done.stdout.splitlines()] == [
        'import-mmrazor', 'mmrazor-inplace', 'reppoints-on-gpu', 'load-checkpoints']
