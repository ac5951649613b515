"""A cluster of one machine: munged, slurmctld and slurmd on loopback, all files in one folder."""
import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tests.tools.toy import free_port

CONF = '''
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ctld}
SlurmdPort={slurmd}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
KillWait=2
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} Gres=gpu:2 State=UNKNOWN
PartitionName=part Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
'''
DAEMONS = ('munged', 'slurmctld', 'slurmd')


def installed() -> bool:
    return all(shutil.which(name) for name in (*DAEMONS, 'srun', 'sbatch', 'scontrol'))


def wait(condition, what, seconds=60):
    """The first thing that is true; fails after so many seconds."""
    end = time.time() + seconds
    while time.time() < end:
        if value := condition():
            return value
        time.sleep(.2)
    raise AssertionError(f'{what} did not happen within {seconds} s')


@contextlib.contextmanager
def cluster(folder: Path):
    """Starts the daemons; gives the environment that their clients need. The two GPUs are names."""
    for name in ('state', 'spool'):
        (folder / name).mkdir()
    host = socket.gethostname().split('.')[0]
    (folder / 'slurm.conf').write_text(CONF.format(
        folder=folder, host=host, cpus=os.cpu_count(), ctld=free_port(), slurmd=free_port(),
        user=os.environ.get('USER', 'root')))
    (folder / 'gres.conf').write_text('Name=gpu File=/dev/null,/dev/zero\n')
    key = folder / 'munge.key'
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    environment = dict(os.environ, SLURM_CONF=str(folder / 'slurm.conf'))
    commands = [
        ['munged', '--foreground', '--force', f'--key-file={key}', f'--pid-file={folder}/munge.pid',
         f'--socket={folder}/munge.socket', f'--log-file={folder}/munge.log',
         f'--seed-file={folder}/munge.seed'],
        ['slurmctld', '-D', '-c'],
        ['slurmd', '-D', '-N', host]]
    daemons = []
    try:
        for command in commands:
            with open(folder / f'{command[0]}.out', 'w') as out:
                daemons.append(subprocess.Popen(
                    command, env=environment, stdout=out, stderr=subprocess.STDOUT))
            if command[0] == 'munged':
                wait((folder / 'munge.socket').exists, 'the start of munged')
        wait(lambda: 'idle' in _ask(['sinfo', '-h', '-o', '%t'], environment), 'an idle node')
        yield environment
    finally:
        _ask(['scancel', '--user', os.environ.get('USER', 'root')], environment)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(30)


def _ask(command, environment) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout
