"""How a rank ends."""
import subprocess
import sys

import pytest

SCRIPT = '''
import atexit, os, sys, torch
from mmdistill_ext.cli import command as cli

def threads():
    return len(os.listdir('/proc/self/task'))

class Output:
    """Python flushes sys.stdout first when it shuts the interpreter down."""
    def __init__(self, inner):
        self.write, self.inner = inner.write, inner

    def flush(self):
        if sys.is_finalizing():
            beside = 'threads of gloo' if threads() > before else 'nothing'
            print('shut down beside', beside, file=self.inner)
        self.inner.flush()

def work(_):
    global model, before  # something often holds on to the group
    model = torch.nn.Linear(1, 1)
    model(torch.ones(1, 1)).sum().backward()
    before = threads()
    torch.distributed.init_process_group('gloo', init_method=f'file://{sys.argv[1]}', rank=0,
                                         world_size=1)
    model = torch.nn.parallel.DistributedDataParallel(model)
    model(torch.ones(1, 1)).sum().backward()
    atexit.register(print, 'at exit')
    print('worked')

sys.stdout = Output(sys.stdout)
if sys.argv[2] == 'main':
    cli.main(work)
else:
    work(None)
    torch.distributed.destroy_process_group()
'''


def said_by(tmp_path, how: str) -> str:
    return subprocess.run([sys.executable, '-c', SCRIPT, tmp_path / how, how], check=True,
                          capture_output=True, text=True).stdout


@pytest.mark.train
def test_no_thread_of_gloo_sees_the_interpreter_go(tmp_path):
    """Such a thread aborts the process when it lets go of a tensor late (pytorch#179291)."""
    assert said_by(tmp_path, 'destroyed') == (  # what is prevented
        'worked\nat exit\nshut down beside threads of gloo\n')
    assert said_by(tmp_path, 'main') == 'worked\nat exit\n'
