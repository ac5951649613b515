"""Running statistics per path: nothing of a mixed path is seen in the layer afterwards."""
import copy
import io

import pytest
import torch
from mmengine.model import convert_sync_batchnorm
from torch import nn

from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.fcfd.path_stats import PathStats


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5, momentum=None), nn.GroupNorm(1, 5)),
        nn.BatchNorm2d(5, track_running_stats=False))


def stats_of(net):
    return PathStats({'s2t_1': (net, [name for name, _ in net.named_modules()]),
                      't2s_1': (net, ['3.1', '3.0'])})


def data(seed):
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * seed + seed


def test_only_batch_norm_with_statistics_is_kept():
    stats = stats_of(network())
    assert {key.rsplit('.', 1)[0] for key in stats.state_dict()} == {
        's2t_1.1', 's2t_1.3/1', 't2s_1.3/1'}
    assert list(stats.parameters()) == []


def test_each_path_gathers_what_it_alone_saw():
    net, stats = network().train(), None
    stats = stats_of(net)
    alone = {path: copy.deepcopy(net) for path in ('pure', 's2t_1', 't2s_1')}
    outputs, expected = [], []
    for step in range(1, 4):
        for path, offset in (('pure', 0), ('s2t_1', 10), ('t2s_1', 20)):
            x = data(step + offset)
            expected.append(alone[path](x))
            if path == 'pure':
                outputs.append(net(x))
            elif path == 's2t_1':
                with stats.on(path):
                    outputs.append(net(x))
            else:  # this path does not own the first layer
                first = net[2](net[1].eval()(net[0](x)))
                net[1].train()
                alone_first = alone[path][2](alone[path][1].eval()(alone[path][0](x)))
                alone[path][1].train()
                expected[-1] = alone[path][4](alone[path][3](alone_first))
                with stats.on(path):
                    outputs.append(net[4](net[3](first)))
    for name, value in alone['pure'].state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
    for key, value in stats.s2t_1.state_dict().items():
        name = key.replace('/', '.')
        assert torch.equal(value, alone['s2t_1'].state_dict()[name]), key
    assert stats.state_dict()['t2s_1.3/1.num_batches_tracked'] == 3
    for index, (mine, theirs) in enumerate(zip(outputs, expected)):
        if index % 3 != 2:  # the first layer of t2s_1 has other statistics in the copy
            assert torch.equal(mine, theirs)


def test_restored_after_an_error():
    net = network().train()
    stats, own = stats_of(net), net[1].running_mean
    with pytest.raises(RuntimeError, match='boom'), stats.on('s2t_1'):
        net(data(1))
        raise RuntimeError('boom')
    assert net[1].running_mean is own and own.abs().max() == 0
    assert stats.state_dict()['s2t_1.1.num_batches_tracked'] == 1


def test_frozen_layers_use_their_own():
    net = network().train()
    net[1].running_mean.fill_(3)
    net[1].eval()
    stats = stats_of(net)
    with stats.on('s2t_1'):
        assert net[1].running_mean[0] == 3
        net(data(1))
    assert stats.state_dict()['s2t_1.1.num_batches_tracked'] == 0
    assert stats.state_dict()['s2t_1.3/1.num_batches_tracked'] == 1
    net.eval(), stats.eval()
    with stats.on('s2t_1'):  # in evaluation as in training
        assert net[1].running_mean[0] == 3
        assert net[3][1].running_mean is not None and net[3][1].running_mean.abs().max() > 0


def test_evaluation_uses_the_path():
    net = network().train()
    stats = stats_of(net)
    with stats.on('s2t_1'):
        net(data(5))
    net.eval(), stats.eval()
    pure = net(data(5))
    with stats.on('s2t_1'):
        assert not torch.allclose(net(data(5)), pure)
        assert net[1].running_mean.mean() != 0
    assert net[1].running_mean.abs().max() == 0


def test_sync_bn_that_is_put_in_later():
    net = network().train()
    stats = stats_of(net)
    net = convert_sync_batchnorm(net)
    assert isinstance(net[1], nn.SyncBatchNorm)
    with stats.on('s2t_1'):
        net(data(2))  # one process: falls back to plain batch norm
    assert net[1].running_mean.abs().max() == 0
    assert stats.state_dict()['s2t_1.1.running_mean'].abs().max() > 0


def test_saved_moved_and_copied():
    net = network().train()
    stats = stats_of(net)
    with stats.on('s2t_1'):
        net(data(2))
    file = io.BytesIO()
    torch.save(stats.state_dict(), file)
    file.seek(0)
    other = stats_of(network())
    other.load_state_dict(torch.load(file))
    for key, value in stats.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)
    assert stats.double().state_dict()['s2t_1.1.running_mean'].dtype == torch.double
    both = nn.ModuleList([net, stats])
    net_copy, stats_copy = copy.deepcopy(both)
    with stats_copy.on('s2t_1'):
        assert net_copy[1].running_mean.abs().max() > 0
        assert net[1].running_mean.abs().max() == 0


def test_no_batch_norm_at_all():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(1, 4))
    stats = PathStats({'s2t_1': (net, ['0', '1'])})
    with stats.on('s2t_1'):
        assert net(data(1)).shape == (4, 4, 6, 6)
    assert not stats.state_dict()


class Counter(nn.Module):
    """Moves a buffer in training, in place or by a new one, as no BatchNorm does."""

    def __init__(self, in_place):
        super().__init__()
        self.in_place = in_place
        self.register_buffer('seen', torch.zeros(1))

    def forward(self, x):
        if self.training and self.in_place:
            self.seen += 1
        elif self.training:
            self.seen = self.seen + 1
        return x


@pytest.mark.parametrize('in_place', [True, False])
def test_another_buffer_that_moves_is_an_error(in_place):
    net = network().append(Counter(in_place)).train()
    stats = stats_of(net)
    with pytest.raises(ConfigError, match="path s2t_1: '5' of the Counter moves its buffer 'seen'"):
        with stats.on('s2t_1'):
            net(data(1))
    assert net[1].running_mean.abs().max() == 0
    net.eval(), stats.eval()
    with stats.on('t2s_1'):
        net(data(1))


def test_buffers_that_are_set_once_are_fine():
    """Position tables are resized for the images at hand, on the pure path first."""
    net = network().append(Counter(True)).train()
    stats = stats_of(net)
    net(data(1))
    net[5].forward = lambda x: x
    with stats.on('s2t_1'):
        net(data(1))
