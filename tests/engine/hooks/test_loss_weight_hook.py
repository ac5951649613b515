"""The weight schedule alone, and in real training with mmengine's Runner."""
import math
import re

import pytest
import torch
from mmengine.runner import Runner
from mmrazor.registry import HOOKS
from torch.utils.data import Dataset

import mmdistill_ext  # noqa: F401
from mmdistill_ext.engine.hooks import LossWeightHook
from mmdistill_ext.engine.hooks.loss_weight_hook import factor_at
from mmdistill_ext.errors import ConfigError
from tests.small import batch, build, model_config

WARM_UP = dict(begin=0, end=4, start=0., stop=1.)
DECAY = dict(begin=6, end=10, start=1., stop=0.2, type='cosine')


def hook_config(**fields):
    config = dict(type='mmrazor.LossWeightHook', loss='loss_intra', phases=[WARM_UP, DECAY])
    return dict(config, **fields)


def factors(phases, times):
    hook = LossWeightHook('loss', phases)
    return [factor_at(hook.phases, time) for time in times]


def test_warm_up_constant_and_decay():
    up = [0., .25, .5, .75, 1., 1., 1.]
    down = [.2 + .8 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(1, 4)]
    assert factors([WARM_UP, DECAY], range(15)) == pytest.approx(up + down + [.2] * 5, rel=1e-12)


def test_ends_are_met_exactly_and_hold():
    phases = [dict(begin=3, end=6, start=.1, stop=.7), dict(begin=6, end=7, start=.3, stop=.9)]
    assert factors(phases, [0, 2, 3]) == [.1, .1, .1]
    assert factors(phases, [6, 7, 10**6]) == [.3, .9, .9]
    assert factors(phases[:1], [6, 100]) == [.7, .7]


@pytest.mark.parametrize('phases, message', [
    ([], 'phases is a list of dicts, found []'),
    (dict(WARM_UP), 'phases is a list of dicts'),
    ([3], "phase 0 is a dict of begin, end, start, stop, type, found 3"),
    ([dict(begin=0, start=0., stop=1.)], "phase 0 lacks 'end'"),
    ([dict(WARM_UP, stops=1)], "phase 0 has no field 'stops'; did you mean 'stop'"),
    ([dict(WARM_UP, type='cosin')], "phase 0: type='cosin'; did you mean 'cosine'?"),
    ([dict(WARM_UP, begin=4)], 'phase 0 is empty: it begins at 4, ends at 4'),
    ([dict(WARM_UP, begin=5)], 'phase 0 is empty: it begins at 5, ends at 4'),
    ([dict(WARM_UP, begin=-1)], 'begin is a whole number from 0, found -1'),
    ([dict(WARM_UP, end=4.5)], 'end is a whole number from 0, found 4.5'),
    ([dict(WARM_UP, end=math.inf)], 'end is a whole number from 0, found inf'),
    ([dict(WARM_UP, start=-.1)], 'start is a number from 0, found -0.1'),
    ([dict(WARM_UP, stop=math.nan)], 'stop is a number from 0, found nan'),
    ([dict(WARM_UP, stop=math.inf)], 'stop is a number from 0, found inf'),
    ([dict(WARM_UP, stop='1')], "stop is a number from 0, found '1'"),
    ([dict(WARM_UP, stop=True)], 'stop is a number from 0, found True'),
    ([WARM_UP, dict(DECAY, begin=3)], 'phase 1 begins at 3, before the one before it ends at 4'),
    ([DECAY, WARM_UP], 'phase 1 begins at 0, before the one before it ends at 10'),
])
def test_wrong_phases_are_named(phases, message):
    with pytest.raises(ConfigError) as error:
        HOOKS.build(hook_config(phases=phases))
    assert str(error.value).startswith("LossWeightHook of 'loss_intra'")
    assert message in str(error.value) and '\n' not in str(error.value)


class Images(Dataset):
    """Eight images of noise, as a dataloader's dataset."""

    def __init__(self, task):
        data = batch(task, 8, 32)
        self.items = list(zip(data['inputs'], data['data_samples']))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return dict(inputs=self.items[index][0], data_samples=self.items[index][1])


def teacher_free():
    layers = ['backbone.layer1', 'backbone.layer2', 'backbone.layer3']
    return dict(
        _scope_='mmrazor', type='TeacherFreeDistill', architecture=model_config('cls'),
        distiller=dict(type='LinkDistiller', links=dict(
            loss_intra=dict(student=layers, loss=dict(type='TfFDIntraLoss', loss_weight=8e-4)),
            loss_inter=dict(student=layers, loss=dict(type='TfFDInterLoss', loss_weight=5e-4)))))


def with_razors_own_loss():
    recorder = dict(fc=dict(type='ModuleOutputs', source='head.fc'))
    return dict(
        _scope_='mmrazor', type='SingleTeacherDistill', architecture=model_config('cls'),
        teacher=model_config('cls', 16),
        distiller=dict(
            type='ConfigurableDistiller', student_recorders=recorder, teacher_recorders=recorder,
            distill_losses=dict(loss_kl=dict(type='KLDivergence', tau=4, loss_weight=2)),
            loss_forward_mappings=dict(loss_kl=dict(
                preds_S=dict(from_student=True, recorder='fc'),
                preds_T=dict(from_student=False, recorder='fc')))))


class Killed(Exception):
    pass


class Watch(LossWeightHook):
    """Keeps what was seen in each iteration; the run may be killed before one of them."""

    def __init__(self, killed_at=None, **kwargs):
        super().__init__(**kwargs)
        self.killed_at, self.seen = killed_at, []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.killed_at:
            raise Killed
        super().before_train_iter(runner, batch_idx, data_batch)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append(self.factor)


def runner_of(work_dir, hook, model=None, by_epoch=True, until=3, resume=False, name='run',
              task='cls'):
    torch.manual_seed(0)
    if by_epoch:  # two iterations an epoch
        train_cfg = dict(by_epoch=True, max_epochs=until)
    else:
        train_cfg = dict(by_epoch=False, max_iters=until)
    return Runner(
        model=build(model or teacher_free()), work_dir=str(work_dir), resume=resume,
        train_cfg=train_cfg, optim_wrapper=dict(optimizer=dict(type='SGD', lr=.01, momentum=.9)),
        train_dataloader=dict(batch_size=4, num_workers=0, dataset=Images(task),
                              sampler=dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler',
                                           shuffle=True)),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=by_epoch)),
        log_processor=dict(window_size=1, by_epoch=by_epoch), custom_hooks=[hook],
        randomness=dict(seed=0), experiment_name=f'{work_dir.name}_{name}', log_level='INFO')


@pytest.mark.train
@pytest.mark.parametrize('by_epoch', [True, False])
def test_an_interrupted_run_is_the_unbroken_one(tmp_path, by_epoch):
    """Same factors, same logged losses, same weights bit for bit."""
    phases = [dict(begin=0, end=2, start=0., stop=1.), dict(begin=3, end=5, start=1., stop=.3)]
    fields = dict(loss='loss_intra', phases=phases, by_epoch=by_epoch)
    until = 6
    first = Watch(killed_at=8 if by_epoch else 4, **fields)
    whole, second = Watch(**fields), Watch(**fields)
    unbroken = runner_of(tmp_path / 'whole', whole, None, by_epoch, until)
    unbroken.train()
    with pytest.raises(Killed):
        runner_of(tmp_path / 'broken', first, None, by_epoch, until, name='first').train()
    resumed = runner_of(tmp_path / 'broken', second, None, by_epoch, until, True, name='second')
    resumed.train()

    each = [0., .5, 1., 1., .65, .3]
    expected = [factor for factor in each for _ in range(2)] if by_epoch else each
    assert whole.seen == pytest.approx(expected, rel=1e-12)
    assert first.seen + second.seen == whole.seen
    key = 'train/loss_weight/loss_intra'
    assert list(resumed.message_hub.get_scalar(key).data[0]) == whole.seen
    assert list(unbroken.message_hub.get_scalar(key).data[0]) == whole.seen
    for name, weight in unbroken.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name


def test_the_loss_is_scaled_and_the_weight_logged(tmp_path):
    fields = dict(loss='loss_intra', phases=[dict(begin=0, end=1, start=0.125, stop=1.125)])
    plain = runner_of(tmp_path / 'plain', Watch(**dict(fields, phases=[
        dict(begin=0, end=1, start=1., stop=1.)])), until=1)
    plain.train()
    scaled = runner_of(tmp_path / 'scaled', Watch(**fields), until=1)
    scaled.train()
    first = [run.message_hub.get_scalar('train/distill.loss_intra').data[0][0]
             for run in (plain, scaled)]
    assert first[0] > 0 and first[1] == pytest.approx(first[0] * .125, rel=1e-6)
    other = [run.message_hub.get_scalar('train/distill.loss_inter').data[0][0]
             for run in (plain, scaled)]
    assert other[0] == other[1]
    total = [run.message_hub.get_scalar('train/loss').data[0][0] for run in (plain, scaled)]
    assert total[0] - total[1] == pytest.approx(first[0] * .875, rel=1e-3), 'the weight is no loss'
    log = next((tmp_path / 'scaled').glob('*/*.log')).read_text()
    assert re.search(r'loss_weight/loss_intra: 0\.1250', log)
    # After training the loss is as it was.
    assert not scaled.model.distiller.distill_losses['loss_intra']._forward_hooks


@pytest.mark.parametrize('name', ['loss_kl', 'distiller.distill_losses.loss_kl'])
def test_a_loss_of_mmrazor(tmp_path, name):
    logged = []
    for factor in (1., .5):
        hook = Watch(loss=name, phases=[dict(begin=0, end=1, start=factor, stop=factor)])
        run = runner_of(tmp_path / str(factor), hook, with_razors_own_loss(), until=1)
        run.train()
        logged.append(run.message_hub.get_scalar('train/distill.loss_kl').data[0][0])
    assert logged[0] > 0 and logged[1] == pytest.approx(logged[0] / 2, rel=1e-6)


def test_all_terms_of_a_loss_that_gives_a_dict(tmp_path):
    """FCFD's heads compare two outputs with ``loss_func``."""
    model = dict(_scope_='mmrazor', type='FCFDSeg', architecture=model_config('seg'),
                 teacher=model_config('seg', 16), random_teacher=True)
    logged = []
    for factor in (1., .5):
        hook = Watch(loss='loss_func', phases=[dict(begin=0, end=1, start=factor, stop=factor)])
        run = runner_of(tmp_path / str(factor), hook, model, until=1, task='seg')
        run.train()
        logged.append({name: run.message_hub.get_scalar(f'train/fcfd.{name}').data[0][0]
                       for name in ('loss_app', 'loss_kd_kl', 'loss_s2t_kl', 'loss_t2s_kl')})
    plain, halved = logged
    assert min(plain.values()) > 0 and halved.pop('loss_app') == plain.pop('loss_app')
    assert halved == pytest.approx({name: value / 2 for name, value in plain.items()}, rel=1e-6)


def test_a_task_loss_under_its_module_name(tmp_path):
    hook = Watch(loss='architecture.head.loss_module',
                 phases=[dict(begin=0, end=1, start=0., stop=0.)])
    run = runner_of(tmp_path / 'run', hook, until=1)
    run.train()
    assert run.message_hub.get_scalar('train/student.loss').data[0][0] == 0


@pytest.mark.parametrize('hooks, by_epoch, message', [
    ([hook_config(loss='loss_intr')], True,
     "LossWeightHook of 'loss_intr': TeacherFreeDistill has no such loss; "
     "did you mean 'loss_intra' or 'loss_inter'"),
    ([hook_config(), hook_config()], True, 'another one drives this loss'),
    ([hook_config()], False, 'by_epoch=True, but training counts iterations'),
    ([hook_config(loss='architecture.backbone')], True, 'ResNet gives a tuple, not a loss'),
    ([hook_config(phases=[dict(DECAY, end=11)])], True,
     'phase 0 ends at 11, but training at 10; expected an end before that'),
])
def test_mistakes_stop_the_run(tmp_path, hooks, by_epoch, message):
    run = runner_of(tmp_path / 'run', hooks[0], by_epoch=by_epoch, until=10)
    for hook in hooks[1:]:
        run.register_hook(hook)
    with pytest.raises(ConfigError) as error:
        run.train()
    assert message in str(error.value) and '\n' not in str(error.value)


def test_a_wrapped_model(tmp_path):
    """Under DDP the algorithm is the wrapper's ``module``."""
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/init', rank=0, world_size=1)
    try:
        hook = Watch(loss='loss_intra', phases=[dict(begin=0, end=2, start=.5, stop=1.)])
        run = runner_of(tmp_path / 'run', hook, until=2)
        from mmengine.model import MMDistributedDataParallel
        run.model = MMDistributedDataParallel(run.model)
        run.train()
        assert hook.seen == [.5, .5, .75, .75]
    finally:
        torch.distributed.destroy_process_group()
