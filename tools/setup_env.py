#!/usr/bin/env python3
"""Make the project's virtual environment. Standard library only; every make target calls it.

    python3 tools/setup_env.py [--stack default|torch21]

It may be interrupted at any point and run again. A finished environment is recognised by its
stamp in a few milliseconds. mmcv is compiled once per machine and kept as a wheel in
``${MMDISTILL_CACHE:-~/.cache/mmdistill_ext}/wheels``.
"""
import argparse
import contextlib
import fcntl
import glob
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Dict, Iterator, List, NoReturn, Optional, Tuple

REPO = Path(__file__).resolve().parent.parent
# Of each stack its pins, its environment, and the minor versions of Python 3 that the pins are for.
STACKS = dict(default=('torch211.txt', '.venv', (10, 11, 12)),
              torch21=('torch21.txt', '.venv-torch21', (11, )))
CACHE = Path(os.environ.get('MMDISTILL_CACHE') or '~/.cache/mmdistill_ext').expanduser().resolve()
DISK_VENV, DISK_BUILD = 10, 2  # GB: packages and pip's copies of them; mmcv's object files
CHECK_OPS = ('import torch; from mmcv.ops import nms; '
             'b = torch.tensor([[0., 0., 4., 4.], [0., 0., 4., 3.], [5., 5., 9., 9.]]); '
             's = torch.tensor([.9, .8, .7]); '
             'assert nms(b, s, .5)[1].tolist() == [0, 2]')
CHECK_OPS_CUDA = CHECK_OPS + '; assert nms(b.cuda(), s.cuda(), .5)[1].tolist() == [0, 2]'


def say(text: str) -> None:
    print(f'[set-up] {text}', flush=True)


def stop(text: str) -> NoReturn:
    """One line saying what is missing and how to get it."""
    print(f'[set-up] STOPPED: {text}', file=sys.stderr, flush=True)
    sys.exit(1)


def read_pins(path: Path) -> Dict[str, str]:
    """Package -> version, of those lines that are for this Python."""
    pins = {}
    for line in path.read_text().splitlines():
        pin, _, marker = (part.strip() for part in line.split('#')[0].partition(';'))
        if pin and _is_for_this_python(marker):
            name, version = pin.split('==')
            pins[name] = version
    return pins


def _is_for_this_python(marker: str) -> bool:
    if not marker:
        return True
    known = re.fullmatch(r'python_version (<|>=) "3\.(\d+)"', marker)
    assert known, f'a pin has the marker {marker!r}, which this script cannot read'
    return (sys.version_info[1] < int(known[2])) == (known[1] == '<')


def find_nvcc() -> Optional[str]:
    home = os.environ.get('CUDA_HOME') or os.environ.get('CUDA_PATH')
    return shutil.which('nvcc', path=f'{home}/bin' if home else None)


def gpu_there() -> bool:
    return bool(glob.glob('/dev/nvidia[0-9]*'))


def stamp_of(requirements: Path, venv: Path) -> str:
    """What a finished environment was made from; another value means that it is out of date."""
    digest = hashlib.sha256()
    for path in (requirements, Path(__file__), REPO / 'setup.py', REPO / 'pyproject.toml',
                 REPO / 'mmdistill_ext.pth'):
        digest.update(path.read_bytes())
    digest.update(f'{venv} {sys.version_info} {gpu_there()} {find_nvcc()}'.encode())
    return digest.hexdigest()


def why_it_failed(log: str) -> Optional[str]:
    """The cause of a failed pip run, read from what it printed, where it is a known one."""
    if 'No space left on device' in log:
        return 'the disk is full: free some space, then run the same command again'
    if re.search('Temporary failure in name|NewConnectionError|ConnectTimeout|ProxyError|SSLError|'
                 'Connection (refused|reset|broken)|Read timed out', log):
        return ('the package index cannot be reached: check the network, or name an index with '
                'PIP_INDEX_URL or `pip config set global.index-url URL`')
    missing = re.search(r'No matching distribution found for (\S+)', log)
    if missing:
        return (f'the package index has no {missing[1]} for this Python and platform: use an index '
                'that mirrors PyPI (PIP_INDEX_URL) on Linux x86_64')
    if re.search(r'Killed signal|signal 9|out of memory', log, re.I):
        return 'the compiler ran out of memory: run again with MAX_JOBS=1'
    return None


def run(command: List[str], progress: str = '$^', env: Optional[dict] = None) -> None:
    """Run a command into a log; say every 15 s how far it is, or stop with the cause."""
    (CACHE / 'logs').mkdir(parents=True, exist_ok=True)
    path = CACHE / 'logs' / f'{time.strftime("%Y%m%d-%H%M%S")}-{os.getpid()}.log'
    start = spoken = time.monotonic()
    with open(path, 'w') as log, subprocess.Popen(
            command, cwd=REPO, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors='replace', start_new_session=True,
            env={**os.environ, **(env or {})}) as process:
        assert process.stdout
        try:
            for line in process.stdout:
                log.write(line)
                found = re.search(progress, line)
                if found and time.monotonic() - spoken > 15:
                    spoken = time.monotonic()
                    say(f'  {spoken - start:4.0f} s: {found[1]}')
        except KeyboardInterrupt:
            os.killpg(process.pid, signal.SIGTERM)
            raise
    if process.returncode:
        text = path.read_text()
        why = why_it_failed(text)
        if not why:
            print(''.join(text.splitlines(True)[-15:]), file=sys.stderr)
        stop(f'{why or "the last lines above say why"} (all of it: {path})')
    path.unlink()


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """Keep a second set-up on this machine waiting; let go by the system if we are killed."""
    (CACHE / 'locks').mkdir(parents=True, exist_ok=True)
    with open(CACHE / 'locks' / name.replace('/', '_'), 'w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f'another set-up is busy with {name}: waiting for it')
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def check_python(minors: Tuple[int, ...]) -> None:
    """Stop where the pins have no packages for this Python."""
    if sys.version_info[0] == 3 and sys.version_info[1] in minors:
        return
    wanted = ' or '.join(f'3.{minor}' for minor in minors)
    why = '; mmcv needs numpy 1.26, which ends at 3.12' if sys.version_info[:2] >= (3, 13) else ''
    stop(f'Python {wanted} is needed, this is {sys.version.split()[0]}{why}: '
         f'run `make PYTHON=/path/to/python3.{minors[-1]} ...`')


def check_machine(venv: Path, pins: Dict[str, str]) -> None:
    """Say what is missing before anything is fetched."""
    if sys.platform != 'linux' or os.uname().machine != 'x86_64':
        stop(f'the pinned versions are for Linux x86_64, this is {sys.platform} '
             f'{os.uname().machine}: in an environment of your own, `pip install -e .` is all')
    if not (venv / 'bin/python').exists():
        need_disk(REPO, DISK_VENV, 'the packages')
    if not glob.glob(f'{wheels_of(pins)}-*'):
        check_compiler()


def wheels_of(pins: Dict[str, str]) -> Path:
    return CACHE / 'wheels' / f'py3.{sys.version_info[1]}-torch{pins["torch"]}-mmcv{pins["mmcv"]}'


def need_disk(where: Path, gigabytes: int, what: str) -> None:
    free = shutil.disk_usage(where).free / 1e9
    if free < gigabytes:
        stop(f'{what} need {gigabytes} GB, but {where} has {free:.1f} GB free: make room there, '
             'or set TMPDIR or MMDISTILL_CACHE to a folder with more')


def check_compiler() -> None:
    if not shutil.which(os.environ.get('CXX', 'g++')):
        stop('no C++ compiler, mmcv must be compiled: `apt-get install g++` (or `dnf install '
             'gcc-c++`), then run the same command again')
    header = Path(sysconfig.get_path('include'), 'Python.h')
    if not header.exists():
        stop(f'the headers of Python are missing ({header}): '
             f'`apt-get install python3.{sys.version_info[1]}-dev`')


def make_venv(venv: Path) -> None:
    """Create it, or start it over where an interrupted pip may have left half a package."""
    if (venv / '.installing').exists():
        say(f'{venv.name} was interrupted half-way: starting it over (pip has kept the downloads)')
        shutil.rmtree(venv)
    elif (venv / 'pyvenv.cfg').exists() and not _made_by_this_python(venv):
        say(f'{venv.name} was made by another Python: starting it over')
        shutil.rmtree(venv)
    if not (venv / 'bin/python').exists():
        say(f'creating {venv}')
        try:
            import ensurepip  # noqa: F401
        except ImportError:
            stop('this Python has no venv module: '
                 f'`apt-get install python3.{sys.version_info[1]}-venv`')
        run([sys.executable, '-m', 'venv', '--clear', str(venv)])


def _made_by_this_python(venv: Path) -> bool:
    return (venv / f'lib/python3.{sys.version_info[1]}').is_dir()


def cuda_of(python: str) -> str:
    """``cpu``, or the CUDA of torch (``cu130``) where a GPU and a matching nvcc are present."""
    if not gpu_there():
        return 'cpu'
    cuda = subprocess.check_output(
        [python, '-c', 'import torch; torch.cuda.is_available() and print(torch.version.cuda)'],
        text=True).strip()
    nvcc = find_nvcc()
    release = re.search(r'release (\d+)', subprocess.check_output([nvcc, '--version'], text=True)
                        ) if nvcc else None
    if cuda and release and release[1] == cuda.split('.')[0]:
        return 'cu' + cuda.replace('.', '')
    why = ('torch cannot use it (is the driver old?)' if not cuda else
           f'torch has CUDA {cuda} and nvcc {release[1] if release else "is missing"}: install the '
           f'CUDA toolkit {cuda} and run again')
    say(f"NOTE: mmcv's ops are compiled for the CPU alone. There is a GPU, but {why}")
    return 'cpu'


def mmcv_wheel(python: str, pins: Dict[str, str], cuda: str) -> Path:
    """The folder with the compiled wheel; compiled now if this machine does not have it yet."""
    folder = Path(f'{wheels_of(pins)}-{cuda}')
    with lock(folder.name):
        if not folder.is_dir():
            compile_mmcv(python, pins, cuda, folder)
    return folder


def compile_mmcv(python: str, pins: Dict[str, str], cuda: str, folder: Path) -> None:
    check_compiler()
    need_disk(Path(tempfile.gettempdir()), DISK_BUILD, "mmcv's object files")
    jobs = os.environ.get('MAX_JOBS') or str(len(os.sched_getaffinity(0)))
    minutes = (18 if cuda == 'cpu' else 70) // int(jobs) + 1
    say(f'compiling mmcv {pins["mmcv"]} ({cuda}) for torch {pins["torch"]} on {jobs} cores: '
        f'about {minutes} minutes, once per machine')
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = folder.with_name(f'.building-{folder.name}')
    shutil.rmtree(building, ignore_errors=True)  # left by a build that was killed
    env = dict(MMCV_WITH_OPS='1', MAX_JOBS=jobs, CFLAGS='-g0', FORCE_CUDA=str(int(cuda != 'cpu')))
    if cuda == 'cpu':
        env['CUDA_VISIBLE_DEVICES'] = ''  # or mmcv goes looking for nvcc by itself
    run([python, '-m', 'pip', 'wheel', '-v', '--no-cache-dir', '--no-build-isolation', '--no-deps',
         '--no-binary', 'mmcv', '-w', str(building), f'mmcv=={pins["mmcv"]}'],
        r'^\s*(\[\d+/\d+\])', env)
    os.rename(building, folder)


def pip_install(venv: Path, *args: str) -> None:
    half_made = venv / '.installing'
    half_made.touch()
    try:
        run([str(venv / 'bin/python'), '-m', 'pip', 'install', '--disable-pip-version-check',
             '--no-deps', *args], r'((?:Collecting|Installing) [^(\n]*)')
    except SystemExit:
        half_made.unlink()  # pip said no by itself and took its steps back: nothing is half-made
        raise
    half_made.unlink()


def install(venv: Path, requirements: Path) -> None:
    pins = read_pins(requirements)
    python = str(venv / 'bin/python')
    make_venv(venv)
    say(f'installing {len(pins) - 1} pinned packages: 2 to 15 minutes, by the speed of the index '
        '(3 GB the first time)')
    with tempfile.NamedTemporaryFile('w', suffix='.txt') as rest:
        rest.write(''.join(f'{k}=={v}\n' for k, v in pins.items() if k != 'mmcv'))
        rest.flush()
        pip_install(venv, '-r', rest.name)
    cuda = cuda_of(python)
    wheel = mmcv_wheel(python, pins, cuda)
    say(f'installing mmcv from {wheel}')
    pip_install(venv, '--no-index', '--find-links', str(wheel), '--force-reinstall',
                f'mmcv=={pins["mmcv"]}')
    if subprocess.run([python, '-c', CHECK_OPS if cuda == 'cpu' else CHECK_OPS_CUDA]).returncode:
        stop(f'mmcv.ops does not load or computes wrongly (the error is above): `rm -r {wheel}` '
             'and run again to compile it anew')
    say('installing this project')
    pip_install(venv, '--no-build-isolation', '-e', str(REPO))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n')[0])
    parser.add_argument('--stack', choices=list(STACKS), default='default')
    stack = parser.parse_args().stack
    pins, folder, minors = STACKS[stack]
    requirements, venv = REPO / 'requirements' / pins, REPO / folder
    stamp, wanted = venv / '.stamp', stamp_of(requirements, venv)
    if stamp.exists() and stamp.read_text() == wanted and (venv / 'bin/python').exists():
        return
    check_python(minors)
    check_machine(venv, read_pins(requirements))
    start = time.monotonic()
    with lock(str(venv)):
        say(f'stack {stack} into {venv.name}')
        install(venv, requirements)
        stamp.write_text(wanted)
    say(f'done in {time.monotonic() - start:.0f} s')


def interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, interrupt)
    try:
        main()
    except KeyboardInterrupt:
        stop('interrupted; the same command goes on from here')
