"""A compiled teacher gives what the plain one gives, by one graph, compiled once."""
import copy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage, MMDistributedDataParallel
from torch._dynamo.utils import counters

from mmdistill_ext.models.teacher.compiled import HOOKS_ARE_COMPILED
from tests.models.algorithms.test_lean_teacher import algorithm, config, losses_of, refused, step
from tests.reliability.algorithms import ALGORITHMS
from tests.reliability.two_ranks import assert_moved_alike, optimizer, part, tell, trained
from tests.small import batch, build, model_config

pytestmark = pytest.mark.usefixtures('no_graph_is_remembered')
needs_hooks = pytest.mark.skipif(not HOOKS_ARE_COMPILED, reason='refused, see below')
BACKENDS = ['aot_eager', pytest.param('inductor', marks=pytest.mark.nightly)]
COMPILED = dict(teacher_compile=dict(backend='aot_eager'))


def assert_one_graph():
    assert counters['stats']['unique_graphs'] == 1
    assert not counters['graph_break'] and not counters['recompiles']
    assert counters['frames'] == dict(total=1, ok=1)


def links(link):
    return dict(type='LinkDistiller', links=dict(loss_feat=link))


def both(task='cls', **fields):
    """The same model with a plain and with a compiled teacher."""
    plain = algorithm(task, **fields)
    compiled = algorithm(task, **fields, **COMPILED)
    return plain, compiled


def assert_equal_losses(plain, compiled, task='cls', rtol=1e-5):
    for images in (batch(task), batch(task)):  # objects of their own, as in each step
        expected = losses_of(plain, task, copy.deepcopy(images))
        for key, value in losses_of(compiled, task, images).items():
            torch.testing.assert_close(value, expected[key], rtol=rtol, atol=1e-6, msg=key)


@needs_hooks
@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('name, others', [
    ('mlp cls', {}), ('mlp det', {}), ('mlp seg', {}), ('fcfd cls', {}), ('fcfd simkd', {}),
    ('fcfd retinanet', {}), ('fcfd faster r-cnn', {}), ('fcfd seg', dict(teacher_norm_eval=False))])
def test_losses_and_weights_are_those_of_the_plain_teacher_by_one_graph(name, others, backend):
    compared = 3 if backend == 'aot_eager' else 1  # rounding decides which boxes are drawn next
    results = []
    for fields in ({}, dict(teacher_compile=dict(backend=backend))):
        torch.manual_seed(0)
        model = build(dict(ALGORITHMS[name][1], **others, **fields)).train()
        optim, logs, before = optimizer(model), [], trained(model)
        for number in range(3):
            tell(number)
            torch.manual_seed(number)
            logs.append((model.train_step(part(name), optim), trained(model)))
            if fields:
                assert_one_graph()
        results.append(logs)
    expected, found = results
    assert any(key.startswith(('distill', 'fcfd')) for key in expected[0][0])
    for (log, weights), (plain, plain_weights) in zip(found[:compared], expected):
        torch.testing.assert_close(log, plain, rtol=1e-4, atol=1e-6)
        assert_moved_alike(weights, plain_weights, before)


PLAIN = config('cls')['distiller']['links']['loss_feat']
VIT = dict(_scope_='mmpretrain', type='ImageClassifier', head=None, neck=None,
           backbone=dict(type='VisionTransformer', img_size=64, patch_size=16, out_type='featmap',
                         arch=dict(embed_dims=16, num_layers=2, num_heads=2,
                                   feedforward_channels=32)))


@needs_hooks
@pytest.mark.parametrize('fields', [
    dict(teacher_dtype='bf16'), dict(teacher_norm_eval=False),
    dict(teacher_size=.5, distiller=links(dict(PLAIN, resize=True))),
    dict(teacher_channels_last=True), dict(teacher_fuse_bn=False), dict(save_teacher=True),
    dict(teacher=VIT, distiller=links(dict(PLAIN, student='backbone.layer3', teacher='backbone'))),
    dict(distiller=links(dict(student='head.fc', teacher='head.fc', loss='KLDivergence'))),
    dict(distiller=dict(
        type='ConfigurableDistiller', distill_losses=dict(loss_feat=dict(type='KLDivergence')),
        student_recorders=dict(fc=dict(type='ModuleOutputs', source='head.fc')),
        teacher_recorders=dict(loss=dict(type='ModuleInputs', source='head.loss_module')),
        loss_forward_mappings=dict(loss_feat=dict(
            preds_S=dict(from_student=True, recorder='fc'),
            preds_T=dict(from_student=False, recorder='loss', data_idx=0)))))],
    ids=lambda fields: ', '.join(fields))
def test_with_the_other_fields_too(fields):
    plain, compiled = both(**fields)
    assert_equal_losses(plain, compiled, rtol=1e-2 if 'teacher_dtype' in fields else 1e-5)
    assert_one_graph()
    torch.testing.assert_close(dict(compiled.teacher.named_buffers()),
                               dict(plain.teacher.named_buffers()))


@needs_hooks
@pytest.mark.train
def test_what_cuts_the_graph_changes_no_loss():
    teacher = model_config('det', 16)
    teacher['backbone'].update(dcn=dict(type='DCN', deform_groups=1),
                               stage_with_dcn=(False, True, False, False), depth=50)
    teacher['neck']['in_channels'] = [64, 128, 256, 512]
    plain, compiled = both('det', teacher=teacher)
    assert_equal_losses(plain, compiled, 'det')
    assert counters['graph_break']


@needs_hooks
def test_in_mixed_precision_the_casts_are_used_and_nothing_is_compiled_anew():
    plain, compiled = both()
    with torch.autocast('cpu', torch.bfloat16):
        assert_equal_losses(plain, compiled, rtol=1e-2)
    assert_one_graph()
    assert compiled.cast_weights._casts


@needs_hooks
def test_the_graph_ends_where_the_last_feature_is():
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    place = 'backbone.layer2'
    model = algorithm('cls', dict(student=place, teacher=place, loss='FeatureL2Loss',
                                  connector='MLPConnector'), teacher_compile=dict(backend=backend))
    losses_of(model, 'cls')
    graph, = graphs
    convolutions = [node for node in graph.graph.nodes if 'conv2d' in str(node.target)]
    assert len(convolutions) == 1 + 4 + 5  # the stem, and two stages of two blocks, one projects


@needs_hooks
def test_images_of_many_sizes_are_compiled_for_twice():
    model = algorithm('det', **COMPILED)
    for size in (160, 192, 224, 256):  # whose coarsest maps are larger than a pixel
        losses_of(model, 'det', batch('det', size=size))
    assert counters['stats']['unique_graphs'] == 2


@needs_hooks
def test_weights_keep_their_names_and_copies_compile_for_themselves(tmp_path):
    plain, model = both(save_teacher=True)
    expected = losses_of(model, 'cls')['distill.loss_feat']
    assert model.state_dict().keys() == plain.state_dict().keys()
    torch.save(model, tmp_path / 'model.pth')
    average = ExponentialMovingAverage(model)
    for other in (copy.deepcopy(model), average.module,
                  torch.load(tmp_path / 'model.pth', weights_only=False)):
        own = next(iter(other.distiller.teacher_recorders.recorders.values()))
        assert other._run_frozen.forward.__self__.reads[0][0] is own
        with torch.no_grad():
            found = losses_of(other.train(), 'cls')['distill.loss_feat']
        assert torch.equal(found, expected)
    step(model, 'cls')


@needs_hooks
def test_under_ddp(tmp_path):
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/store',
                                         rank=0, world_size=1)
    try:
        plain, compiled = both()
        ddp = MMDistributedDataParallel(compiled)
        for _ in range(2):
            torch.testing.assert_close(step(ddp, 'cls'), step(plain, 'cls'))
        assert_one_graph()
    finally:
        torch.distributed.destroy_process_group()


@needs_hooks
@pytest.mark.parametrize('places, graphs', [([''], 1), (['teacher'], None)])
def test_under_fsdp(tmp_path, places, graphs):
    fsdp = pytest.importorskip('torch.distributed.fsdp')
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/store',
                                         rank=0, world_size=1)
    try:
        plain, sharded = both()
        for place in places:
            fsdp.fully_shard(sharded.get_submodule(place),
                             mesh=torch.distributed.init_device_mesh('cpu', (1, )))
        for _ in range(2):
            torch.testing.assert_close(step(sharded, 'cls'), step(plain, 'cls'))
        assert graphs is None or counters['stats']['unique_graphs'] == graphs
    finally:
        torch.distributed.destroy_process_group()


@needs_hooks
def test_under_a_compiled_training_step():
    plain, compiled = both()
    compiled.train_step = torch.compile(compiled.train_step, backend='aot_eager')
    for _ in range(2):
        torch.testing.assert_close(step(compiled, 'cls'), step(plain, 'cls'))


@pytest.mark.skipif(HOOKS_ARE_COMPILED, reason='hooks are compiled since')
def test_a_compiler_that_leaves_out_hooks_is_refused():
    assert 'needs PyTorch 2.2 or later' in refused(teacher_compile=True)


@needs_hooks
def test_what_cannot_be_compiled_is_refused():
    assert "found 'yes'" in refused(teacher_compile='yes')
    assert "did you mean 'mode'" in refused(teacher_compile=dict(mod='default'))
    assert 'fast' in refused(teacher_compile=dict(mode='fast'))
    assert 'fast' in refused(teacher_compile=dict(backend='fast'))
    assert 'teacher_trainable=True' in refused(teacher_compile=True, teacher_trainable=True)
    records = dict(fc=dict(type='ModuleOutputs', source='head.fc'), labels=dict(
        type='FunctionInputs', source='mmpretrain.models.losses.cross_entropy_loss.cross_entropy'))
    assert 'recorders of functions' in refused(teacher_compile=True, distiller=dict(
        config('cls')['distiller'], teacher_recorders=records))
