"""tools/setup_env.py and setup.py: real venvs, real pip, packages small enough for a test."""
import importlib.metadata
import importlib.util
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from packaging.specifiers import SpecifierSet

REPO = Path(__file__).parent.parent
TORCH = 'def tensor(values):\n    return values\n'
MMCV_OPS = '''
class Kept(list):
    def tolist(self):
        return list(self)
def nms(boxes, scores, threshold):
    return None, Kept([0, 2])
'''
SLOW_SETUP = '''
import os, time
from setuptools import setup
if os.environ.get('SLOW'):
    open(os.environ['SLOW'], 'w').write(str(os.getpid()))
    time.sleep(60)
print('  [1/2] c++ -c a.cpp')
setup(name='mmcv', version='0.0.1', packages=['mmcv', 'mmcv.ops'])
'''


def wheel_of_installed(name: str, folder: Path) -> str:
    """A wheel of a package of this environment, so that no test needs a network."""
    package = importlib.metadata.distribution(name)
    path = folder / f'{name}-{package.version}-py3-none-any.whl'
    with zipfile.ZipFile(path, 'w') as wheel:
        for file in package.files or []:
            if not str(file).startswith('..') and '__pycache__' not in str(file):
                wheel.write(file.locate(), str(file))
    return package.version


def wheel(name: str, code: str, folder: Path) -> None:
    with zipfile.ZipFile(folder / f'{name}-0.0.1-py3-none-any.whl', 'w') as file:
        info = f'{name}-0.0.1.dist-info'
        file.writestr(f'{name}/__init__.py', code)
        file.writestr(f'{info}/METADATA', f'Metadata-Version: 2.1\nName: {name}\nVersion: 0.0.1\n')
        file.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\n'
                      'Tag: py3-none-any\n')
        file.writestr(f'{info}/RECORD', '')


def source(name: str, files: dict, folder: Path) -> None:
    with tarfile.open(folder / f'{name}-0.0.1.tar.gz', 'w:gz') as tar:
        for path, text in files.items():
            member = tarfile.TarInfo(f'{name}-0.0.1/{path}')
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))


def project(tmp_path: Path) -> Path:
    """A copy of the project whose pins are four small packages, and an index that has them."""
    index, repo = tmp_path / 'index', tmp_path / 'repo'
    index.mkdir()
    pins = {name: wheel_of_installed(name, index) for name in ('setuptools', 'wheel')}
    wheel('torch', TORCH, index)
    source('mmcv', {'setup.py': SLOW_SETUP, 'mmcv/__init__.py': '', 'mmcv/ops/__init__.py':
                    MMCV_OPS, 'PKG-INFO': 'Metadata-Version: 2.1\nName: mmcv\nVersion: 0.0.1\n'},
           index)
    for name in ('setup.py', 'pyproject.toml', 'tools/setup_env.py',
                 'mmdistill_ext/__init__.py', 'mmdistill_ext/compat.py'):
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / name, repo / name)
    (repo / 'requirements').mkdir()
    (repo / 'requirements/torch211.txt').write_text(''.join(
        f'{name}=={version}\n' for name, version in dict(pins, torch='0.0.1', mmcv='0.0.1').items()
    ) + '# a comment\n')
    return repo


@pytest.fixture
def small(tmp_path):
    return project(tmp_path)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """The same project, set up; and what that printed."""
    repo = project(tmp_path_factory.mktemp('made'))
    done = set_up(repo)
    assert done.returncode == 0, done.stdout + done.stderr
    return repo, done.stdout


def environment(repo: Path, **env: str) -> dict:
    clean = {key: value for key, value in os.environ.items()
             if not key.startswith(('PIP_', 'PYTHON', 'CUDA'))}
    return {**clean, 'MMDISTILL_CACHE': str(repo.parent / 'cache'), 'PIP_NO_INDEX': '1',
            'PIP_FIND_LINKS': str(repo.parent / 'index'), 'PIP_CONFIG_FILE': os.devnull, **env}


def set_up(repo: Path, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys._base_executable, 'tools/setup_env.py'], cwd=repo, text=True,
                          capture_output=True, env=environment(repo, **env))


def stopped(done: subprocess.CompletedProcess, *parts: str) -> None:
    """One line that says what is missing and how to get it, and nothing else on stderr."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith('[set-up] STOPPED: ') and done.stderr.count('\n') == 1, (
        done.stderr)
    for part in parts:
        assert part in done.stderr


@pytest.mark.train
def test_from_nothing(made):
    repo, said = made
    assert 'compiling mmcv 0.0.1 (cpu) for torch 0.0.1' in said
    assert 'minutes, once per machine' in said
    key = f'py3.{sys.version_info[1]}-torch0.0.1-mmcv0.0.1-cpu'
    assert [p.name for p in (repo.parent / 'cache/wheels').iterdir()] == [key]
    assert not list((repo.parent / 'cache/logs').iterdir())
    packages = next((repo / '.venv/lib').iterdir()) / 'site-packages'
    assert not list(packages.glob('mmdistill_ext.pth'))  # nothing of ours runs at every start
    found = subprocess.run(
        [repo / '.venv/bin/python', '-c',
         'import importlib.util as u; print(u.find_spec("mmdistill_ext").origin)'],
        cwd='/', text=True, capture_output=True, env=environment(repo))
    assert found.stdout == f'{repo}/mmdistill_ext/__init__.py\n', found.stderr


@pytest.mark.train
def test_again_at_once(made):
    took = []
    for _ in range(3):
        start = time.monotonic()
        again = set_up(made[0])
        took.append(time.monotonic() - start)
        assert (again.returncode, again.stdout, again.stderr) == (0, '', '')
    assert min(took) < .5


@pytest.mark.train
def test_after_a_change_mmcv_is_not_compiled_again(made):
    repo, _ = made
    with open(repo / 'requirements/torch211.txt', 'a') as file:
        file.write('# another\n')
    changed = set_up(repo)
    assert changed.returncode == 0, changed.stderr
    assert 'compiling' not in changed.stdout and 'creating' not in changed.stdout
    assert f'installing mmcv from {repo.parent}/cache/wheels/py3' in changed.stdout


@pytest.mark.train
def test_killed_while_installing(made):
    """pip takes a package that has its METADATA for whole: such a venv is not trusted."""
    repo, _ = made
    (repo / '.venv/.installing').touch()
    (repo / '.venv/.stamp').unlink()
    broken = next(repo.glob('.venv/lib/*/site-packages/torch/__init__.py'))
    broken.unlink()
    done = set_up(repo)
    assert done.returncode == 0, done.stderr
    assert 'starting it over' in done.stdout and broken.exists()
    assert not (repo / '.venv/.installing').exists()


@pytest.mark.train
def test_ops_that_do_not_work_are_found(made):
    repo, _ = made
    folder = next((repo.parent / 'cache/wheels').iterdir())
    for file in folder.iterdir():
        file.unlink()
    wheel('mmcv', 'raise ImportError("undefined symbol")\n', folder)
    (repo / '.venv/.stamp').unlink()
    done = set_up(repo)
    assert done.returncode == 1 and f'`rm -r {folder}`' in done.stderr
    assert not (repo / '.venv/.stamp').exists()


@pytest.mark.train
def test_interrupted_while_compiling(small):
    started = small.parent / 'started'
    process = subprocess.Popen([sys._base_executable, 'tools/setup_env.py'], cwd=small, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=environment(small, SLOW=str(started)))
    while not (started.exists() and started.read_text()):
        assert process.poll() is None, process.communicate()
        time.sleep(.1)
    compiler = int(started.read_text())
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=20)
    assert process.returncode == 1 and 'interrupted; the same command goes on' in error
    time.sleep(.5)
    left = Path(f'/proc/{compiler}/status')
    assert not left.exists() or 'State:\tZ' in left.read_text()  # gone, or waiting to be counted
    assert not list((small.parent / 'cache/wheels').glob('py*'))
    done = set_up(small)
    assert done.returncode == 0, done.stderr
    assert 'creating' not in done.stdout and 'starting it over' not in done.stdout
    assert not list((small.parent / 'cache/wheels').glob('.building*'))


@pytest.mark.train
def test_missing_things_are_named(small):
    no_tools = str(small.parent / 'empty')
    stopped(set_up(small, PATH=no_tools), 'no C++ compiler', 'apt-get install g++')
    assert not (small / '.venv').exists()
    unreachable = dict(PIP_NO_INDEX='0', PIP_INDEX_URL='http://127.0.0.1:9/simple',
                       PIP_FIND_LINKS='', PIP_RETRIES='1')
    stopped(set_up(small, **unreachable), 'the package index cannot be reached', 'PIP_INDEX_URL')
    (small.parent / 'index/torch-0.0.1-py3-none-any.whl').unlink()
    stopped(set_up(small), 'the package index has no torch==0.0.1')
    assert not (small / '.venv/.installing').exists()


@pytest.fixture
def setup_env(monkeypatch, tmp_path):
    monkeypatch.setenv('MMDISTILL_CACHE', str(tmp_path / 'cache'))
    spec = importlib.util.spec_from_file_location('setup_env', REPO / 'tools/setup_env.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_other_pythons_and_small_disks_are_refused(setup_env, monkeypatch, tmp_path, capsys):
    pins = setup_env.read_pins(REPO / 'requirements/torch211.txt')
    minors = setup_env.STACKS['default'][2]
    for version, words in (((3, 9), ''), ((3, 13), '; mmcv needs numpy 1.26, which ends at 3.12')):
        with monkeypatch.context() as patch:
            patch.setattr(sys, 'version_info', (*version, 1, 'final', 0))
            with pytest.raises(SystemExit):
                setup_env.check_python(minors)
        said = capsys.readouterr().err
        assert 'Python 3.10 or 3.11 or 3.12 is needed' in said and words in said
        assert len(said.splitlines()) == 1
    with monkeypatch.context() as patch:
        patch.setattr(shutil, 'disk_usage', lambda _: SimpleNamespace(free=2 * 10**9))
        with pytest.raises(SystemExit):
            setup_env.check_machine(tmp_path / 'venv', pins)
    assert 'need 10 GB' in capsys.readouterr().err


@pytest.mark.parametrize('log, words', [
    ('error: [Errno 28] No space left on device', 'disk is full'),
    ('x NewConnectionError(...)\nERROR: No matching distribution found for six', 'be reached'),
    ('ERROR: No matching distribution found for six==9', 'has no six==9'),
    ('c++: fatal error: Killed signal terminated program cc1plus', 'MAX_JOBS=1')])
def test_causes(setup_env, log, words):
    assert words in setup_env.why_it_failed(log)


@pytest.mark.parametrize('cuda, nvcc, expected, said', [
    ('13.0', '13', 'cu130', ''), ('12.1', '12', 'cu121', ''), ('', '13', 'cpu', 'driver'),
    ('13.0', '12', 'cpu', 'nvcc 12: install the CUDA toolkit 13.0'),
    ('13.0', None, 'cpu', 'nvcc is missing')])
def test_ops_are_for_the_gpu_where_torch_and_nvcc_agree(
        setup_env, monkeypatch, tmp_path, capsys, cuda, nvcc, expected, said):
    """With stand-ins for the two programs that are asked; there is no GPU where tests run."""

    def program(path: Path, output: str) -> Path:
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{output}"\n')
        path.chmod(0o755)
        return path

    monkeypatch.setattr(setup_env, 'gpu_there', lambda: True)
    monkeypatch.setenv('CUDA_HOME', str(tmp_path))
    if nvcc:
        program(tmp_path / 'bin/nvcc', f'Cuda compilation tools, release {nvcc}.4, V{nvcc}.4.1')
    assert setup_env.cuda_of(str(program(tmp_path / 'bin/python', cuda))) == expected
    out = capsys.readouterr().out
    assert said in out and bool(said) == bool(out)


def test_a_pin_can_be_for_some_pythons(setup_env, monkeypatch, tmp_path):
    path = tmp_path / 'pins.txt'
    path.write_text('# a comment\nplain==1.0\n'
                    'old==2.0; python_version >= "3.11"\n'
                    'old==1.5; python_version < "3.11"  # why\n')
    for minor, version in ((10, '1.5'), (11, '2.0'), (12, '2.0')):
        monkeypatch.setattr(sys, 'version_info', (3, minor, 1, 'final', 0))
        assert setup_env.read_pins(path) == {'plain': '1.0', 'old': version}
    path.write_text('odd==1; sys_platform == "linux"\n')
    with pytest.raises(AssertionError, match='cannot read'):
        setup_env.read_pins(path)


def test_an_environment_of_another_python_is_started_over(setup_env, tmp_path, capsys):
    venv = tmp_path / 'venv'
    (venv / 'lib/python3.6').mkdir(parents=True)
    (venv / 'pyvenv.cfg').touch()
    setup_env.make_venv(venv)
    assert 'made by another Python' in capsys.readouterr().out
    assert (venv / f'lib/python3.{sys.version_info[1]}').is_dir()
    assert not (venv / 'lib/python3.6').exists()
    setup_env.make_venv(venv)
    assert 'another' not in capsys.readouterr().out


def test_make_takes_the_first_python_that_runs(tmp_path):
    """A stub of a version manager answers and fails; the next one is taken."""
    for name, body in (('python3.11', 'exit 127'), ('python3.12', 'exit 0')):
        (tmp_path / name).write_text(f'#!/bin/sh\n{body}\n')
        (tmp_path / name).chmod(0o755)
    # Not what `make test` hands down to a make inside it: flags, and what was named beside it.
    clean = {name: value for name, value in os.environ.items()
             if name not in ('MAKEFLAGS', 'MAKELEVEL', 'MFLAGS', 'PYTHON', 'STACK')}
    clean['PATH'] = f'{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin'

    def first_line(*arguments: str) -> str:
        return subprocess.run(['make', '-n', 'env', *arguments], cwd=REPO, text=True, check=True,
                              env=clean, capture_output=True).stdout.splitlines()[-1]

    assert first_line() == 'python3.12 tools/setup_env.py --stack default'
    assert first_line('PYTHON=mine') == 'mine tools/setup_env.py --stack default'


def test_pins_are_whole(setup_env):
    """Every line a pin, and what is installed here is what one of the two files says."""
    stacks = [setup_env.read_pins(REPO / 'requirements' / name)
              for name, *_ in setup_env.STACKS.values()]
    for pins in stacks:
        for name in ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmsegmentation',
                     'mmpretrain', 'mmrazor', 'joblib', 'numpy', 'opencv-python'):
            assert pins[name]
        assert pins['mmcv'] == '2.1.0' and pins['mmrazor'] == '1.0.0'


def test_pins_admit_the_first_release_of_this_python():
    """Debian 12 has Python 3.11.2, and set-up there must find every pin."""
    first = f'{sys.version_info[0]}.{sys.version_info[1]}.0'
    found = {package.metadata['Name']: package.metadata.get('Requires-Python')
             for package in importlib.metadata.distributions()}
    assert 'torch' in found
    assert {name: needs for name, needs in found.items()
            if needs and first not in SpecifierSet(needs)} == {}


def pip(*arguments: str, python: str = sys.executable) -> None:
    done = subprocess.run([python, '-m', 'pip', '--disable-pip-version-check', *arguments],
                          capture_output=True, text=True, cwd='/')
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.train
def test_wheel(tmp_path):
    """It pulls no torch and no mmcv, and nothing of it runs when Python starts."""
    clone = tmp_path / 'clone'
    shutil.copytree(REPO, clone, ignore=shutil.ignore_patterns(
        '.*', 'work_dirs', 'data', 'build', '*.egg-info', '__pycache__', 'tests'))
    pip('wheel', '-q', '--no-deps', '--no-build-isolation', '--no-index', '-w', str(tmp_path),
        str(clone))
    path = next(tmp_path.glob('*.whl'))
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        metadata = archive.read(next(n for n in names if n.endswith('METADATA'))).decode()
    assert 'mmdistill_ext/compat.py' in names
    assert not [name for name in names if name.endswith('.pth')]
    assert [line for line in metadata.splitlines() if line.startswith('Requires-Dist')
            and 'extra ==' not in line] == ['Requires-Dist: joblib']
    configs = {f'mmdistill_ext/.mim/{file.relative_to(clone)}'
               for file in clone.glob('configs/**/*.py')}
    assert configs and configs <= set(names)
    tools = {f'mmdistill_ext/.mim/{file.relative_to(clone)}'
             for file in [*clone.glob('tools/**/*.py'), *clone.glob('tools/*.sh')]}
    assert 'mmdistill_ext/.mim/tools/analysis/function_consistency.py' in tools <= set(names)
    # What `mim search` and `mim train mmdistill_ext CONFIG` read.
    index = yaml.safe_load((clone / 'model-index.yml').read_text())['Import']
    assert {f'mmdistill_ext/.mim/{file}' for file in ['model-index.yml', *index]} <= set(names)
    subprocess.run([sys._base_executable, '-m', 'venv', tmp_path / 'venv'], check=True)
    python = str(tmp_path / 'venv/bin/python')
    pip('install', '-q', '--no-deps', '--no-index', str(path), python=python)
    count = ('import sys; print("torch" in sys.modules, "mmdistill_ext" in sys.modules, '
             '[getattr(f, "__name__", 0) for f in sys.meta_path].count("_SkipTables"))')

    def start() -> tuple:
        done = subprocess.run([python, '-c', count], capture_output=True, text=True, cwd='/')
        return done.stdout, done.stderr

    assert start() == ('False False 0\n', '')
    assert not any(part in name for part in ('demo', 'study', 'bench', 'soak') for name in names)
