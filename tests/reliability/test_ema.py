"""A moving average beside training, with validation: it changes nothing, and a run resumes."""
import pytest
import torch
from mmengine.hooks import Hook

from .resume_runs import INTERVAL, RUNS, SAVES, Images, runner
from .test_resume import assert_same, last

pytestmark = pytest.mark.train


class Stop(Hook):
    """An error in the middle of training, which is where the run ends."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == INTERVAL * SAVES // 2 + 1:
            raise InterruptedError


def run(name, folder, *hooks):
    loop = RUNS[name][0]
    made = runner(
        name, folder, hooks, train_cfg=dict(loop['train_cfg'], val_interval=4),
        train_dataloader=dict(batch_size=4, num_workers=0, dataset=Images(),
                              sampler=loop['sampler']),
        val_dataloader=dict(batch_size=4, num_workers=0, dataset=Images(),
                            sampler=dict(type='DefaultSampler', shuffle=False)),
        val_cfg=dict(), val_evaluator=dict(type='Accuracy'),
        experiment_name=f'{folder} {len(hooks)}')
    made.train()
    return made


@pytest.mark.parametrize('name, update_buffers', [
    ('mlp cls', False), ('tffd cls', False), ('fcfd cls', False), ('fcfd cls', True)])
def test_training_is_as_without_it_and_resumes(tmp_path, name, update_buffers):
    average = dict(type='EMAHook', momentum=.25, update_buffers=update_buffers)
    run(name, tmp_path / 'plain')
    run(name, tmp_path / 'average', average)
    with pytest.raises(InterruptedError):
        run(name, tmp_path / 'cut', average, Stop())
    run(name, tmp_path / 'cut', average)
    averaged, plain = last(tmp_path / 'average'), last(tmp_path / 'plain')
    assert_same(averaged, last(tmp_path / 'cut'))
    # mmengine saves the average as the model, and the model as the average.
    moved = 0
    for key, value in plain['state_dict'].items():
        assert torch.equal(averaged['ema_state_dict'][f'module.{key}'], value), key
        moved += not torch.equal(averaged['state_dict'][key], value)
    assert moved > 5
