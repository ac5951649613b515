"""Losses that become NaN: named, and the run stopped or the step left out without a trace."""
import functools
import math

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner
from mmengine.utils import digit_version
from mmrazor.registry import HOOKS
from torch import multiprocessing
from torch.utils.data import Dataset

from mmdistill_ext.engine.hooks import FiniteLossHook
from mmdistill_ext.errors import ConfigError, NumbersError
from tests.small import batch, build, model_config


class Batches(Dataset):
    """Batches of two images by letter; those of ``x`` hold a NaN."""

    def __init__(self, letters):
        self.letters = letters

    def __len__(self):
        return 2 * len(self.letters)

    def __getitem__(self, index):
        letter = self.letters[index // 2]
        data = batch('cls', 2, 64 + ord(letter) % 8)
        image, sample = data['inputs'][index % 2].float(), data['data_samples'][index % 2]
        sample.set_metainfo(dict(img_path=f'{letter}{index % 2}.png'))
        if letter == 'x' and index % 2:
            image[0, 0, 0] = math.nan
        return dict(inputs=image, data_samples=sample)


class Watch(Hook):
    """The losses of each iteration."""
    priority = 'VERY_HIGH'

    def __init__(self):
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({name: value.item() for name, value in outputs.items()})


def model():
    place = ['backbone.layer2', 'backbone.layer3']
    return dict(
        _scope_='mmrazor', type='LeanTeacherDistill', architecture=model_config('cls', 4),
        teacher=model_config('cls', 8), random_teacher=True,
        distiller=dict(type='LinkDistiller', links=dict(loss_feat=dict(
            student=place, teacher=place, connector='LinearConnector',
            loss=dict(type='FeatureL2Loss', loss_weight=1e-3)))))


def run_of(work_dir, letters, guard=None, epochs=1, hooks=(), optim=None, resume=False):
    """A run over the letters in their order; batches of two with or without other ranks."""
    torch.manual_seed(0)
    ranks = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    guards = [dict(type='mmrazor.FiniteLossHook', **guard)] if guard is not None else []
    run = Runner(
        model=build(model()), work_dir=str(work_dir), resume=resume,
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=.01, momentum=.9, weight_decay=.1),
                           **(optim or {})),
        train_dataloader=dict(batch_size=2 // ranks, num_workers=0, dataset=Batches(letters),
                              sampler=dict(type='DefaultSampler', shuffle=False)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        custom_hooks=[*guards, *hooks], randomness=dict(seed=0), log_level='INFO',
        experiment_name=f'{work_dir.name}_{letters}_{epochs}_{resume}')
    run.model.init_weights()
    return run


def assert_equal(run, other):
    expected = other.model.state_dict()
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_stop_names_loss_and_files_and_writes_no_checkpoint(tmp_path):
    with pytest.raises(NumbersError) as error:
        run_of(tmp_path, 'abxc', {}).train()
    assert str(error.value).startswith(
        'iteration 3: student.loss is nan, distill.loss_feat (level 0 of 2) is nan, '
        'distill.loss_feat (level 1 of 2) is nan on x0.png, x1.png; look at these')
    assert '\n' not in str(error.value)
    assert not list(tmp_path.glob('*.pth'))


def test_one_level_of_one_link(tmp_path):
    run = run_of(tmp_path, 'ab', {})
    with torch.no_grad():
        next(run.model.distiller.connectors['loss_feat_1'].parameters()).fill_(1e30)
    with pytest.raises(NumbersError) as error:
        run.train()
    assert 'iteration 1: distill.loss_feat (level 1 of 2) is inf on a0' in str(error.value)


def test_losses_that_come_as_lists_are_named_by_index():
    hook = FiniteLossHook()
    hook.model = torch.nn.Module()
    hook.losses = dict(acc=torch.tensor(math.nan), loss_a=torch.tensor(1.), loss_box=[
        torch.tensor(0.), torch.tensor(-math.inf)])
    hook.data_batch = None
    assert hook._blame().startswith('loss_box (level 1 of 2) is -inf')


@pytest.mark.parametrize('letters, optim', [
    ('abxc', {}), ('xabxc', dict(accumulative_counts=2)), ('axb', dict(accumulative_counts=2))])
def test_a_skipped_step_leaves_no_trace(tmp_path, letters, optim):
    """Bit for bit the run on the other batches: weights, momentum, running statistics."""
    whole = run_of(tmp_path / 'whole', letters, dict(action='skip'), 2, optim=optim)
    whole.train()
    clean = run_of(tmp_path / 'clean', letters.replace('x', ''), epochs=2, optim=optim)
    clean.train()
    assert_equal(whole, clean)
    skipped = 2 * letters.count('x')
    assert whole.message_hub.get_info('skipped_steps') == skipped
    log = next((tmp_path / 'whole').glob('*/*.log')).read_text()
    assert log.count('step skipped') == skipped and 'x0.png, x1.png; step skipped, 1' in log
    assert 'update_params' not in vars(whole.optim_wrapper)


def test_a_frozen_teacher_is_not_copied(tmp_path):
    """Its buffers do not move; those of the student and the connectors are saved before a step."""
    class Look(Hook):
        priority = 'VERY_LOW'

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            hook = next(hook for hook in runner.hooks if isinstance(hook, FiniteLossHook))
            saved.append({id(buffer) for buffer in hook._buffers})

    saved = []
    run = run_of(tmp_path, 'ab', dict(action='skip'), 2, hooks=[Look()])
    run.train()
    student = {id(buffer) for buffer in run.model.student.buffers()}
    teacher = {id(buffer) for buffer in run.model.teacher.buffers()}
    assert len(saved) == 4 and all(student <= buffers for buffers in saved)
    assert teacher and not any(teacher & buffers for buffers in saved)


def test_skips_are_counted_over_a_resume_and_limited(tmp_path):
    guard = dict(action='skip', max_skips=2)
    run_of(tmp_path, 'axb', guard).train()
    with pytest.raises(NumbersError) as error:
        run_of(tmp_path, 'axb', guard, epochs=4, resume=True).train()
    message = str(error.value)
    assert message.startswith('iteration 8: student.loss is nan') and 'x1.png' in message
    assert '2 steps were skipped before' in message and '\n' not in message


@pytest.mark.skipif(digit_version(torch.__version__) < digit_version('2.3'),
                    reason='no gradient scaler for the CPU')
@pytest.mark.parametrize('action', ['stop', 'skip'])
def test_the_overflow_of_a_gradient_scaler_is_left_to_it(tmp_path, monkeypatch, action):
    """mmengine's own wrapper, with a scaler that runs on the CPU."""
    theirs = 'mmengine.optim.optimizer.amp_optimizer_wrapper'
    monkeypatch.setattr(f'{theirs}.is_cuda_available', lambda: True)
    monkeypatch.setattr(f'{theirs}.GradScaler', functools.partial(torch.amp.GradScaler, 'cpu'))
    watch, optim = Watch(), dict(type=AmpOptimWrapper, loss_scale=dict(init_scale=2.**126))
    run = run_of(tmp_path, 'xab' if action == 'skip' else 'ab', dict(action=action), 2,
                 [watch], optim)
    run.model.distiller.distill_losses['loss_feat'].loss_weight = 1e3
    before = run.model.student.backbone.conv1.weight.clone()
    run.train()
    assert run.optim_wrapper.loss_scaler.get_scale() == 2.**122, 'a, b, a, b, each halves it'
    assert torch.equal(run.model.student.backbone.conv1.weight, before)
    assert sum(math.isfinite(losses['loss']) for losses in watch.losses) == 4


@pytest.mark.parametrize('fields, message', [
    (dict(action='warn'), "action is 'stop' or 'skip', found 'warn'"),
    (dict(max_skips=-1), 'max_skips is a whole number from 1, found -1')])
def test_fields(fields, message):
    with pytest.raises(ConfigError, match=message):
        HOOKS.build(dict(type='mmrazor.FiniteLossHook', **fields))


def rank_run(rank, world, folder):
    """'x' is NaN in its second image alone, which is the second rank's."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=world)
    for unused in (False, True):
        runs = []
        for letters, guard in (('axb', dict(action='skip')), ('ab', None)):
            run = run_of(folder / f'{rank}{unused}', letters, guard, 2)
            run.model = MMDistributedDataParallel(run.model, find_unused_parameters=unused)
            run.train()
            runs.append(run)
        assert_equal(*runs)
    torch.save(dict(weights=dict(runs[0].model.named_parameters()),
                    skipped=runs[0].message_hub.get_info('skipped_steps')), folder / f'{rank}.pth')
    if rank == 0:
        logs = (folder / '0True').glob('*/*.log')  # of both runs, one folder a second
        log = ''.join(path.read_text() for path in logs)
        assert '[rank 1] student.loss is nan' in log and '[rank 0]' not in log
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.train
def test_two_ranks_of_which_one_has_a_nan_both_skip(tmp_path):
    multiprocessing.spawn(rank_run, (2, tmp_path), nprocs=2)
    first, second = (torch.load(tmp_path / f'{rank}.pth', weights_only=False) for rank in range(2))
    assert first['skipped'] == second['skipped'] == 2
    for name, weight in first['weights'].items():
        assert torch.equal(weight, second['weights'][name]), name
