"""The commands of docs/analysis.md, on the demo's configs and hardly trained checkpoints."""
import csv
import re
import shlex
import shutil
from pathlib import Path

import matplotlib.image
import pytest
import torch
from mmengine.config import Config
from mmrazor.registry import MODELS

from mmdistill_ext.datasets import SceneSettings, make_data
from tests.tools.toy import REPO, tool

pytestmark = pytest.mark.train
PAGE = REPO / 'docs/analysis.md'
COMMANDS = [shlex.split(line) for block in re.findall(r'```bash\n(.*?)```', PAGE.read_text(), re.S)
            for line in block.splitlines()]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder as after `make demo` and `make demo-det`, with far less data and training."""
    folder = tmp_path_factory.mktemp('demo')
    make_data(folder / 'data/digits', SceneSettings(train=40, val=12, tune=2))
    (folder / 'projects').symlink_to(REPO / 'projects')
    shutil.copy(next(folder.glob('data/digits/imagenet/val/*/*.png')), folder / 'my_picture.png')
    for task, row in (('cls', 'teacher'), ('cls', 'student'), ('cls', 'mlp'), ('cls', 'fcfd')):
        train(folder, task, row)
    for task, row in (('cls', 'tffd'), ('det', 'student'), ('det', 'mlp')):
        initial_weights(folder, task, row)
    return folder


def place(folder, task, row, epoch=8):
    return folder / ('work_dirs/demo' if task == 'cls' else f'work_dirs/demo_{task}') / row / (
        f'epoch_{epoch}.pth')


def train(folder, task, row):
    checkpoint = place(folder, task, row)
    done = tool('train.py', f'projects/demo/configs/{task}_{row}.py',
                '--work-dir', checkpoint.parent, '--cfg-options', 'train_cfg.max_epochs=2',
                'train_dataloader.batch_size=32', 'default_hooks.logger.interval=1',
                'optim_wrapper.optimizer.lr=.01', cwd=folder)
    assert done.returncode == 0, done.stderr
    (checkpoint.parent / 'epoch_2.pth').rename(checkpoint)


def initial_weights(folder, task, row):
    torch.manual_seed(0)
    import mmdistill_ext  # noqa: F401
    config = Config.fromfile(REPO / f'projects/demo/configs/{task}_{row}.py')
    if config.model.pop('teacher_ckpt', None):
        config.model.random_teacher = True
    state = dict(state_dict=MODELS.build(config.model).state_dict())
    place(folder, task, row).parent.mkdir(parents=True)
    for epoch in (7, 8):
        torch.save(state, place(folder, task, row, epoch))


@pytest.mark.parametrize('command', COMMANDS, ids=lambda command: ' '.join(command[1:3]))
def test_command(folder, command):
    python, script, *arguments = command
    assert python == 'python'
    out = folder / 'out'
    shutil.rmtree(out, ignore_errors=True)
    name = Path(script).stem
    report = name == 'report'
    done = tool(script[len('tools/'):], *arguments, '--out', out / 'a.html' if report else out,
                cwd=folder)
    assert done.returncode == 0, done.stderr
    if report:
        page = (out / 'a.html').read_text()
        assert all(f'<td>{row}</td>' in page for row in ('teacher', 'student', 'mlp', 'fcfd'))
        return
    assert f'{out}/{name}.csv, {out}/{name}.png' in done.stdout
    with open(out / f'{name}.csv', newline='') as file:
        columns, *rows = csv.reader(file)
    assert rows and all(len(row) == len(columns) for row in rows)
    assert matplotlib.image.imread(out / f'{name}.png').std() > 0


def test_every_tool_is_on_the_page():
    tools = {f'tools/analysis/{path.name}' for path in (REPO / 'tools/analysis').glob('*.py')}
    assert {command[1] for command in COMMANDS} == {*tools, 'tools/report.py'}


@pytest.mark.parametrize('arguments, said', [
    (['tsne.py', 'projects/demo/configs/cls_tffd.py', 'work_dirs/demo/tffd/epoch_8.pth'],
     "'TeacherFreeDistill'; a distillation with a teacher"),
    (['distances.py', 'projects/demo/configs/cls_mlp.py', 'work_dirs/demo/student/epoch_8.pth'],
     'holds the student alone'),
    (['predictions.py', 'projects/demo/configs/cls_mlp.py', 'work_dirs/demo/mlp/epoch_8.pth'],
     'ImageClassifier neither detects nor segments'),
    (['curves.py', 'work_dirs/demo', '--metric', 'mIoU'], "no metric 'mIoU'"),
])
def test_a_mistake_is_one_line(folder, arguments, said):
    done = tool(f'analysis/{arguments[0]}', *arguments[1:], cwd=folder)
    assert done.returncode == 2 and done.stderr.count('\n') == 1, done.stderr
    assert said in done.stderr
    assert not list(folder.glob('work_dirs/*/analysis'))
