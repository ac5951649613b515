"""Runs the trials, each in a process of its own, and keeps what they find."""
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Tuple

from projects.where import HOME

from .families import LIBRARIES

Key = Tuple[str, str]  # library and family
Results = Dict[Key, dict]


def read(path: Path) -> Results:
    """The last result of each family in a file of JSON lines, in order."""
    lines = path.read_text().splitlines() if path.is_file() else []
    found = {(line['library'], line['family']): line for line in map(json.loads, lines)}
    return {key: found[key] for key in sorted(found, key=_order)}


def _order(key: Key) -> tuple:
    return LIBRARIES.index(key[0]), key[1]


def append(path: Path, result: dict) -> None:
    """Add one line, so that an interrupted run goes on where it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'a') as file:
        file.write(f'{json.dumps(result)}\n')


def write(path: Path, results: Results) -> None:
    """Replace a file by one line for each family, in order."""
    path.write_text(''.join(f'{json.dumps(results[key])}\n'
                            for key in sorted(results, key=_order)))


def try_family(library: str, family: str, seconds: float) -> dict:
    """What a family's trial found, as far as it came.

    Args:
        library (str): One of ``LIBRARIES``.
        family (str): A folder of its configs.
        seconds (float): The trial is stopped after so long.
    """
    command = [sys.executable, '-W', 'ignore', '-m', 'projects.zoo.trial', library, family]
    # A thread each, as the tests run, for a figure of time that does not depend on the machine.
    env = dict(os.environ, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='',
               PYTHONPATH=f'{HOME}{os.pathsep}{os.environ.get("PYTHONPATH", "")}')
    result: dict = dict(library=library, family=family)
    try:
        done = subprocess.run(command, cwd=HOME, env=env, timeout=seconds, text=True,
                              capture_output=True)
        output, end = done.stdout, f'ended with {done.returncode}'
        last = (done.stderr.strip().splitlines() or [''])[-1]
        end = f'{end}: {last[:200]}' if last else end
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b'').decode() if isinstance(error.stdout, bytes) else ''
        done, end = None, f'stopped after {seconds:g} s'
    for line in output.splitlines():
        if line.startswith('{'):
            result.update(json.loads(line))
    if done is None or done.returncode:
        result['stopped'] = end
    return result


def missing(wanted: List[Key], results: Results) -> List[Key]:
    """Those that have no result yet."""
    return [key for key in wanted if key not in results]
