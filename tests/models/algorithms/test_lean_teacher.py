"""The lean teacher: as far as it must run, loaded strictly, never changed, never saved."""
import copy
from functools import partial

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import OptimWrapper
from mmengine.runner import load_checkpoint, save_checkpoint
from mmengine.runner.checkpoint import get_state_dict, load_state_dict
from mmengine.structures import PixelData

from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.teacher.build import load_strictly
from mmdistill_ext.models.teacher.early_stop import EarlyStop
from tests.small import batch, build, model_config

TASKS = ['cls', 'seg', 'det']
EXACT = dict(teacher_fuse_bn=False, teacher_channels_last=False)
PLACE = dict(cls='backbone.layer4', seg='backbone.layer4', det='neck')


def config(task, link=None, teacher_width=16, **fields):
    link = link or dict(student=PLACE[task], teacher=PLACE[task], connector='MLPConnector',
                        loss=dict(type='FeatureL2Loss', loss_weight=1e-3))
    base = dict(type='LeanTeacherDistill', random_teacher=True,
                architecture=model_config(task), teacher=model_config(task, teacher_width),
                distiller=dict(type='LinkDistiller', links=dict(loss_feat=link)))
    base.update(fields)
    return base


def algorithm(task, *args, **fields):
    torch.manual_seed(0)
    return build(config(task, *args, **fields)).train()


def losses_of(model, task, data=None):
    data = model.data_preprocessor(data or batch(task), True)
    return model(**data, mode='loss')


def step(model, task, optimizer=None):
    optimizer = optimizer or OptimWrapper(torch.optim.SGD(model.parameters(), lr=.01))
    return model.train_step(batch(task), optimizer)


def modules_run(model, call):
    names, handles = [], []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(
            lambda *_, name=name: names.append(name)))
    call()
    for handle in handles:
        handle.remove()
    return set(names)


@pytest.mark.parametrize('task', TASKS)
def test_the_teacher_runs_not_one_module_more_than_it_must(task):
    model = algorithm(task)
    run = modules_run(model.teacher, lambda: losses_of(model, task))
    last = {'cls': ('backbone',), 'seg': ('backbone',), 'det': ('backbone', 'neck')}[task]
    allowed = {name for name, _ in model.teacher.named_modules()
               if name == '' or name.split('.')[0] in last}
    assert run <= allowed
    assert f'{PLACE[task]}' in run


def test_the_teacher_stops_inside_the_backbone():
    place = 'backbone.layer2'
    model = algorithm('cls', dict(student=place, teacher=place, connector='MLPConnector',
                                  loss='FeatureL2Loss'))
    run = modules_run(model.teacher, lambda: losses_of(model, 'cls'))
    assert 'backbone.layer2.1' in run
    assert not any(name.startswith(('backbone.layer3', 'backbone.layer4', 'head')) for name in run)


def test_the_head_runs_to_the_place_that_a_link_reads_and_no_loss_runs():
    model = algorithm('cls', dict(student='head.fc', teacher='head.fc',
                                  loss=dict(type='KLDivergence', tau=2)))
    run = modules_run(model.teacher, lambda: losses_of(model, 'cls'))
    assert 'head.fc' in run and 'head.loss_module' not in run


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('norm_eval', [True, False])
def test_no_weight_of_the_teacher_changes_or_gets_a_gradient(task, norm_eval):
    model = algorithm(task, teacher_norm_eval=norm_eval)
    before = {k: v.clone() for k, v in model.teacher.state_dict().items()}
    student = copy.deepcopy(model.student.state_dict())
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=.01, weight_decay=.1))
    for _ in range(2):
        step(model, task, optimizer)
    for key, value in model.teacher.state_dict().items():
        moves = not norm_eval and key.rsplit('.')[-1] in ('running_mean', 'running_var',
                                                          'num_batches_tracked')
        if not moves:
            assert torch.equal(value, before[key]), key
    assert not norm_eval or not any(m.training for m in model.teacher.modules())
    assert all(p.grad is None and not p.requires_grad for p in model.teacher.parameters())
    assert any(not torch.equal(v, student[k]) for k, v in model.student.state_dict().items())


def test_train_leaves_the_teacher_in_evaluation_mode_unless_asked():
    model = algorithm('seg')
    assert not any(m.training for m in model.teacher.modules())
    assert all(m.training for m in model.student.modules())
    asked = algorithm('seg', teacher_norm_eval=False)
    assert all(m.training for m in asked.teacher.modules() if type(m).__name__ == 'BatchNorm2d')
    training = {type(m).__name__ for m in asked.teacher.modules() if m.training}
    assert training == {'BatchNorm2d'}
    assert not any(m.training for m in asked.eval().modules())


def levit_teacher(**fields):
    """A teacher with attention whose biases are cached when its mode becomes evaluation."""
    teacher = dict(_scope_='mmpretrain', type='ImageClassifier',
                   data_preprocessor=model_config('cls')['data_preprocessor'],
                   backbone=dict(type='LeViT', arch='128s', img_size=128),
                   neck=dict(type='GlobalAveragePooling'),
                   head=dict(type='LeViTClsHead', num_classes=5, in_channels=384,
                             distillation=False, loss=dict(type='CrossEntropyLoss')))
    link = dict(student='head.fc', teacher='head.head', loss=dict(type='KLDivergence'))
    return algorithm('cls', link, teacher=teacher, **fields)


@pytest.mark.parametrize('fields', [{}, dict(teacher_norm_eval=False), dict(teacher_dtype='bf16')])
def test_modules_of_the_teacher_that_do_more_in_train_than_set_a_flag(fields):
    model = levit_teacher(**fields)
    attention = model.teacher.backbone.stages[0][0].block
    with torch.no_grad():
        attention.attention_biases.normal_()
    for _ in range(3):  # as each epoch, and each validation
        model.eval().train()
        biases = attention.attention_biases[:, attention.attention_bias_idxs]
        assert torch.equal(attention.ab, biases) and not attention.training
    norms = [m for m in model.teacher.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert norms and all(m.training == ('teacher_norm_eval' in fields) for m in norms)
    losses_of(model, 'cls', batch('cls', size=128))  # lays the teacher out, which rounds otherwise
    alone = copy.deepcopy(model.teacher)
    images = model.data_preprocessor(batch('cls', size=128), True)['inputs']
    expected = alone(images.to(attention.attention_biases.dtype), mode='tensor')
    seen = []
    model.teacher.head.head.register_forward_hook(  # before the one that ends the forward
        lambda _, __, output: seen.append(output), prepend=True)
    losses = losses_of(model, 'cls', batch('cls', size=128))
    assert torch.isfinite(losses['distill.loss_feat'])
    assert torch.equal(seen[0], expected)


def stock_of(model, type_, task, **fields):
    stock_config = config(task, type=type_, **fields)
    del stock_config['random_teacher']
    stock = build(stock_config)
    stock.train()
    stock.load_state_dict({**model.state_dict(), **{
        f'teacher.{k}': v for k, v in model.teacher.state_dict().items()}})
    return stock


@pytest.mark.parametrize('type_, task, fields', [
    ('SingleTeacherDistill', 'cls', {}),
    ('FpnTeacherDistill', 'det', {}),
    ('SingleTeacherDistill', 'cls', dict(calculate_student_loss=False)),
    ('SingleTeacherDistill', 'cls', dict(calculate_student_loss=False, student_trainable=False)),
    ('SingleTeacherDistill', 'seg', dict(teacher_trainable=True)),
    ('SingleTeacherDistill', 'seg', dict(teacher_trainable=True, teacher_norm_eval=False))])
def test_losses_equal_mmrazors_own_algorithm(type_, task, fields):
    model = algorithm(task, **EXACT, **fields)
    stock = stock_of(model, type_, task, **fields)
    ours, theirs = losses_of(model, task), losses_of(stock, task)
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        value, other = ((v if isinstance(v, list) else [v]) for v in (value, theirs[key]))
        assert all(torch.equal(a, b) for a, b in zip(value, other)), key


@pytest.mark.parametrize('trainable', [True, False])
def test_what_a_teacher_freezes_of_itself_stays_frozen(trainable):
    teacher = model_config('det', 16)
    teacher['backbone'].update(frozen_stages=1, norm_eval=True,
                               norm_cfg=dict(type='BN', requires_grad=False))
    fields = dict(teacher=teacher, teacher_trainable=trainable, teacher_norm_eval=False)
    model = algorithm('det', **EXACT, **fields)
    norms = [m for m in model.teacher.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and not any(m.training or m.weight.requires_grad for m in norms)
    assert not model.teacher.backbone.layer1[0].conv1.weight.requires_grad
    assert model.teacher.neck.fpn_convs[0].conv.weight.requires_grad == trainable


def test_a_stopped_distillation_keeps_no_features_and_waits_for_no_delivery():
    fc = dict(fc=dict(type='ModuleOutputs', source='head.fc'))
    delivery = dict(type='MethodOutputs', max_keep_data=1,
                    method_path='mmpretrain.models.necks.GlobalAveragePooling.forward')
    model = algorithm('cls', teacher_width=8, distiller=dict(
        type='ConfigurableDistiller', teacher_recorders=fc, student_recorders=fc,
        distill_deliveries=dict(pooled=delivery),
        distill_losses=dict(loss_kl=dict(type='KLDivergence')),
        loss_forward_mappings=dict(loss_kl=dict(
            preds_S=dict(recorder='fc', from_student=True),
            preds_T=dict(recorder='fc', from_student=False)))))
    assert {'student.loss', 'distill.loss_kl'} == losses_of(model, 'cls').keys()
    model.distillation_stopped = True  # as MMRazor's StopDistillHook does
    assert ['student.loss'] == list(losses_of(model, 'cls'))
    assert not model.distiller.student_recorders.get_recorder('fc').data_buffer


def test_a_student_that_is_not_trained_gets_no_gradient():
    model = algorithm('cls', student_trainable=False)
    model.parse_losses(losses_of(model, 'cls'))[0].backward()
    assert all(p.grad is None for p in model.student.parameters())
    assert all(p.grad is not None for p in model.distiller.connectors.parameters())


@pytest.mark.parametrize('beside', [
    dict(type='ConfigurableDistiller'),
    dict(type='LinkDistiller', links=dict(loss_fc=dict(
        student='head.fc', teacher='head.fc', loss=dict(type='FeatureL2Loss', loss_weight=1))))])
def test_a_recorder_on_the_loss_itself(beside):
    """MMRazor's config of DKD takes the labels from what goes into ``head.loss_module``."""
    fc = dict(fc=dict(type='ModuleOutputs', source='head.fc'))
    distiller = dict(
        teacher_recorders=fc, student_recorders=dict(
            fc, gt_labels=dict(type='ModuleInputs', source='head.loss_module')),
        distill_losses=dict(loss_dkd=dict(type='DKDLoss', tau=1, beta=0.5, reduction='mean')),
        loss_forward_mappings=dict(loss_dkd=dict(
            preds_S=dict(from_student=True, recorder='fc'),
            preds_T=dict(from_student=False, recorder='fc'),
            gt_labels=dict(from_student=True, recorder='gt_labels', data_idx=1))))
    model = algorithm('cls', distiller={**distiller, **beside}, teacher_width=8, **EXACT)
    stock = stock_of(model, 'SingleTeacherDistill', 'cls', teacher_width=8,
                     distiller=dict(distiller, type='ConfigurableDistiller'))
    ours, theirs = losses_of(model, 'cls'), losses_of(stock, 'cls')
    assert theirs.keys() == {'student.loss', 'distill.loss_dkd'}
    assert ours.keys() - theirs.keys() == {f'distill.{name}' for name in beside.get('links', ())}
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_what_mmrazors_recorders_read_is_not_overwritten():
    records = dict(feat=dict(type='ModuleOutputs', source='backbone.layer1.0.bn1'))
    model = algorithm('cls', teacher_width=8, distiller=dict(
        type='ConfigurableDistiller', student_recorders=records, teacher_recorders=records,
        distill_losses=dict(loss_l2=dict(type='L2Loss')),
        loss_forward_mappings=dict(loss_l2=dict(
            s_feature=dict(recorder='feat', from_student=True),
            t_feature=dict(recorder='feat', from_student=False)))))
    for network in (model.student, model.teacher):
        changed = [name for name, module in network.named_modules()
                   if getattr(module, 'inplace', True) is False]
        assert changed == ['backbone.layer1.0.relu']


def test_an_error_of_the_teachers_own_comes_out_and_leaves_nothing_active():
    model = algorithm('cls')

    def fail(*_):
        raise KeyError('mine')

    hook = model.teacher.backbone.layer3.register_forward_hook(fail)
    with pytest.raises(KeyError, match='mine'):
        losses_of(model, 'cls')
    hook.remove()
    assert not model._run_frozen.__self__.active
    model.teacher(torch.zeros(1, 3, 32, 32))  # runs to its end, and nothing is recorded
    assert not any(r.recording for r in model.distiller.teacher_recorders.recorders.values())
    assert 'distill.loss_feat' in losses_of(model, 'cls')


# Checkpoints

def save(tmp_path, state_dict, name='teacher.pth'):
    path = str(tmp_path / name)
    torch.save(state_dict, path)
    return path


@pytest.mark.parametrize('prefix', ['', 'module.', 'architecture.'])
@pytest.mark.parametrize('wrapped', [True, False])
def test_the_teacher_is_what_its_checkpoint_says(tmp_path, prefix, wrapped):
    torch.manual_seed(5)
    source = build(model_config('cls', 16)).state_dict()
    weights = {prefix + key: value for key, value in source.items()}
    path = save(tmp_path, dict(state_dict=weights, meta={}) if wrapped else weights)
    model = algorithm('cls', random_teacher=False, teacher_ckpt=path, **EXACT)
    model.init_weights()  # as the runner does
    assert all(torch.equal(v, source[k]) for k, v in model.teacher.state_dict().items())


def refused(**fields):
    with pytest.raises(ConfigError) as error:
        algorithm('cls', **fields)
    assert '\n' not in str(error.value)
    return str(error.value)


def test_a_checkpoint_that_does_not_fit_is_refused_with_the_keys(tmp_path):
    weights = build(model_config('cls', 16)).state_dict()
    del weights['backbone.conv1.weight']
    weights['head.fc.weight'] = torch.zeros(7, 128)
    weights['head.extra'] = torch.zeros(1)
    message = refused(random_teacher=False, teacher_ckpt=save(tmp_path, weights))
    for part in ['1 missing (backbone.conv1.weight); 1 unexpected (head.extra); ',
                 '1 of another shape (head.fc.weight (7, 128) instead of (5, 128))']:
        assert part in message


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 cut short', b'hello', None])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / 'teacher.pth'
    if content is not None:
        path.write_bytes(content)
    assert str(path) in refused(random_teacher=False, teacher_ckpt=str(path))


def test_a_checkpoint_without_weights_is_refused(tmp_path):
    path = save(tmp_path, dict(state_dict={}, meta={}))
    assert 'state_dict' in refused(random_teacher=False, teacher_ckpt=path)


def test_no_checkpoint_is_an_error_unless_random_is_meant(tmp_path):
    assert 'random_teacher=True' in refused(random_teacher=False)
    path = save(tmp_path, build(model_config('cls', 16)).state_dict())
    assert 'contradict' in refused(teacher_ckpt=path)


def test_a_student_that_is_the_teacher_is_refused():
    network = build(model_config('cls'))
    with pytest.raises(ConfigError, match='one object'):
        build(config('cls', architecture=network, teacher=network))


def test_a_distiller_that_reads_nothing_from_the_teacher_is_refused():
    message = refused(distiller=dict(type='ConfigurableDistiller'))
    assert 'reads nothing' in message


@pytest.mark.parametrize('norm_eval', [True, False])
def test_the_teachers_weights_stay_out_of_the_checkpoints_and_resume_works(norm_eval):
    model = algorithm('cls', teacher_norm_eval=norm_eval)
    step(model, 'cls')
    state = model.state_dict()
    kept = {key.rsplit('.', 1)[-1] for key in state if key.startswith('teacher.')}
    assert kept == (set() if norm_eval else {'running_mean', 'running_var',
                                             'num_batches_tracked'})
    other = algorithm('cls', teacher_norm_eval=norm_eval)
    assert not any(other.load_state_dict(state))
    assert all(torch.equal(v, state[k]) for k, v in other.state_dict().items())


def test_a_field_brings_the_teacher_back_into_the_checkpoints():
    state = algorithm('cls', save_teacher=True).state_dict()
    assert 'teacher.backbone.conv1.weight' in state


def test_a_teacher_in_a_checkpoint_does_not_replace_the_one_of_teacher_ckpt(tmp_path):
    """As in MMRazor's checkpoints; its weights are not fused, ours are."""
    source = build(model_config('cls', 16))
    for module in source.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(4.)
    fields = dict(random_teacher=False, teacher_ckpt=save(tmp_path, source.state_dict()))
    model = algorithm('cls', **fields)
    teacher = copy.deepcopy(model.teacher.state_dict())
    model.load_state_dict(algorithm('cls', save_teacher=True, **fields).state_dict())
    assert all(torch.equal(v, teacher[k]) for k, v in model.teacher.state_dict().items())


def test_checkpoints_of_mmengine_and_of_the_moving_average_hold_no_teacher_and_load(tmp_path):
    model = algorithm('cls')
    average = ExponentialMovingAverage(model, momentum=.5, update_buffers=True)
    step(model, 'cls')
    average.update_parameters(model)
    path = str(tmp_path / 'last.pth')
    save_checkpoint(dict(state_dict=get_state_dict(model),
                         ema_state_dict=get_state_dict(average)), path)
    checkpoint = load_checkpoint(algorithm('cls'), path, strict=True)
    ema = checkpoint['ema_state_dict']
    assert not any('teacher' in key for key in [*checkpoint['state_dict'], *ema])
    load_state_dict(ExponentialMovingAverage(algorithm('cls')), ema, strict=True)


def test_a_copy_and_a_model_read_from_disk_record_into_buffers_of_their_own(tmp_path):
    model = algorithm('cls')
    path = str(tmp_path / 'model.pth')
    torch.save(model, path)
    expected = losses_of(model, 'cls')['distill.loss_feat']
    for other in (copy.deepcopy(model), torch.load(path, weights_only=False)):
        names = modules_run(other.teacher, partial(losses_of, other, 'cls'))
        assert 'backbone.layer4' in names and 'neck' not in names
        assert not modules_run(model.teacher, partial(losses_of, other, 'cls'))
        assert torch.equal(losses_of(other, 'cls')['distill.loss_feat'], expected)
        stop, = (hook.__self__ for hook in other.teacher.backbone.layer4._forward_hooks.values()
                 if isinstance(hook.__self__, EarlyStop))
        assert other._run_frozen.__self__ is stop and not stop.active
        assert stop.reads[0][0] is next(iter(other.distiller.teacher_recorders.recorders.values()))


def bytes_beside(model, call):
    """Of the tensors that ``call()`` returns, the memory that ``model`` does not have."""
    other = call()  # before which a teacher may have been in another memory layout
    own = {t.untyped_storage().data_ptr() for t in tensors_in(model)}
    added = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
             for t in tensors_in(other)}
    return sum(size for place, size in added.items() if place not in own)


def tensors_in(model):
    return [*model.parameters(), *model.buffers()]


@pytest.mark.parametrize('fields', [{}, dict(teacher_norm_eval=False)])
def test_a_moving_average_holds_no_second_teacher(fields):
    model = algorithm('cls', teacher_width=32, **fields)
    weights = sum(p.nbytes for p in model.teacher.parameters())
    trained = sum(t.nbytes for t in tensors_in(model)) - weights
    added = bytes_beside(model, lambda: ExponentialMovingAverage(model))
    assert added == trained + 8 < .2 * weights  # and the count of its steps
    average = ExponentialMovingAverage(model)
    step(model, 'cls')  # in the first one a teacher may be given another memory layout
    assert bytes_beside(model, lambda: average) == trained + 8


def test_a_teacher_that_is_trained_is_copied():
    model = algorithm('cls', teacher_trainable=True)
    everything = sum(t.nbytes for t in tensors_in(model))
    assert bytes_beside(model, lambda: copy.deepcopy(model)) == everything


def test_moving_a_copy_leaves_the_model_where_it_is():
    """A moving average may be kept on another device."""
    model = algorithm('cls')
    other = copy.deepcopy(model).double()
    assert {p.dtype for p in model.parameters()} == {torch.float}
    assert {p.dtype for p in other.parameters()} == {torch.double}
    average = ExponentialMovingAverage(model, device=torch.device('meta'))
    assert {p.device.type for p in average.module.parameters()} == {'meta'}
    assert {p.device.type for p in model.parameters()} == {'cpu'}
    assert all(p.requires_grad for p in model.student.parameters())


def test_keys_of_older_releases_are_understood(tmp_path):
    """DCN's offsets as mmdet 1 named them; a position embedding of another image size."""
    config = model_config('det', 16)
    config['backbone'].update(dcn=dict(type='DCN', deform_groups=1), depth=50,
                              stage_with_dcn=(False, False, False, True))
    config['neck']['in_channels'] = [64, 128, 256, 512]
    source = build(config).state_dict()
    old = {key.replace('conv2.conv_offset', 'conv2_offset'): v for key, v in source.items()}
    assert old.keys() != source.keys()
    teacher = build(config)
    load_strictly(teacher, save(tmp_path, old))
    assert all(torch.equal(v, source[k]) for k, v in teacher.state_dict().items())
    vit = dict(_scope_='mmpretrain', type='ImageClassifier', backbone=dict(
        type='VisionTransformer', img_size=64, arch=dict(
            embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16)))
    path = save(tmp_path, build(vit).state_dict())
    vit['backbone']['img_size'] = 96
    load_strictly(build(vit), path)
    vit['backbone']['arch']['embed_dims'] = 32
    with pytest.raises(ConfigError, match=r'cls_token \(1, 1, 16\) instead of \('):
        load_strictly(build(vit), path)


SWIN = dict(_scope_='mmpretrain', type='ImageClassifier', backbone=dict(
    type='SwinTransformerV2', img_size=64, window_size=[4, 4, 2, 2], arch=dict(
        embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], extra_norm_every_n_blocks=0)))


@pytest.mark.parametrize('published', [True, False])
def test_what_a_model_recomputes_is_not_missing(tmp_path, published):
    """Swin V2's own hook drops two tables from what is loaded, so some files lack them."""
    source = build(SWIN).state_dict()
    tables = [key for key in source if key.rsplit('.')[-1] in ('relative_position_index',
                                                               'relative_coords_table')]
    assert len(tables) == 8
    if not published:
        source = {key: value for key, value in source.items() if key not in tables}
    teacher = build(SWIN)
    load_strictly(teacher, save(tmp_path, source))
    assert all(torch.equal(teacher.state_dict()[key], value) for key, value in source.items())
    del source['backbone.stages.0.blocks.0.attn.w_msa.qkv.weight']
    with pytest.raises(ConfigError, match='1 missing .*qkv.weight'):
        load_strictly(teacher, save(tmp_path, source))


def test_a_checkpoint_that_does_not_count_batches_fits(tmp_path):
    source = build(model_config('cls', 16)).state_dict()
    old = {key: v for key, v in source.items() if not key.endswith('num_batches_tracked')}
    load_strictly(build(model_config('cls', 16)), save(tmp_path, old))
    assert old.keys() != source.keys()


def test_pretrained_is_loaded_as_strictly_as_teacher_ckpt(monkeypatch):
    teacher = dict(cfg_path='mmpretrain::resnet/resnet18_8xb32_in1k.py', pretrained=True)
    monkeypatch.setattr('mmdistill_ext.models.teacher.build.read_checkpoint',
                        lambda path: ({path.rsplit('/', 1)[-1]: torch.zeros(1)}, None))
    message = refused(random_teacher=False, teacher=teacher)
    assert '1 unexpected (resnet18_8xb32_in1k_' in message and 'missing (backbone.conv1' in message


# What makes a teacher cheap

@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('fields, tolerance', [
    (dict(teacher_fuse_bn=True), 1e-4),
    (dict(teacher_channels_last=True), 1e-4),
    (dict(teacher_dtype='bf16'), .05),
    (dict(teacher_fuse_bn=True, teacher_channels_last=True, teacher_dtype='bf16'), .05)])
def test_a_cheap_teacher_says_the_same(task, fields, tolerance):
    plain, cheap = algorithm(task, **EXACT), algorithm(task, **{**EXACT, **fields})
    expected = losses_of(plain, task)['distill.loss_feat']
    loss = losses_of(cheap, task)['distill.loss_feat']
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=tolerance, atol=0)
    dtypes = {p.dtype for p in cheap.teacher.parameters()}
    assert dtypes == {torch.bfloat16 if 'teacher_dtype' in fields else torch.float32}
    norms = [m for m in cheap.teacher.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert bool(norms) != bool(fields.get('teacher_fuse_bn'))
    assert all(m.training for m in cheap.student.modules())


def test_a_teacher_with_deformable_convolutions_stays_contiguous():
    teacher = model_config('det', 16)
    teacher['backbone'].update(dcn=dict(type='DCN', deform_groups=1),
                               stage_with_dcn=(False, True, True, False), depth=50)
    teacher['neck']['in_channels'] = [64, 128, 256, 512]
    model = algorithm('det', teacher=teacher)
    assert torch.isfinite(losses_of(model, 'det')['distill.loss_feat'])
    with pytest.raises(ConfigError, match='DeformConv2dPack'):
        algorithm('det', teacher=teacher, teacher_channels_last=True)


def test_a_precision_that_does_not_exist_and_fusing_what_moves_are_refused():
    assert "'int4'" in refused(teacher_dtype='int4')
    assert 'teacher_norm_eval' in refused(teacher_fuse_bn=True, teacher_norm_eval=False)
    assert 'teacher_norm_eval' in refused(teacher_fuse_bn=True, teacher_trainable=True)
    assert 'teacher_trainable' in refused(teacher_dtype='bf16', teacher_trainable=True)


@pytest.mark.parametrize('task', TASKS)
def test_a_teacher_in_fp16_is_built_where_the_cpu_cannot_run_it(task):
    model = algorithm(task, teacher_dtype='fp16')
    assert {p.dtype for p in model.teacher.parameters()} == {torch.float16}
    assert {p.dtype for p in model.student.parameters()} == {torch.float32}


@pytest.mark.parametrize('dtype', [None, 'bf16'])
@pytest.mark.parametrize('amp', [True, False])
def test_mmrazors_connectors_and_losses_take_what_a_teacher_in_any_precision_says(dtype, amp):
    records = {name: dict(type='ModuleOutputs', source=source) for name, source in (
        ('fc', 'head.fc'), ('feat', 'backbone.layer4'))}
    model = algorithm('cls', teacher_width=8, teacher_dtype=dtype, distiller=dict(
        type='ConfigurableDistiller', student_recorders=records, teacher_recorders=records,
        connectors=dict(conv=dict(type='ConvModuleConnector', in_channel=64, out_channel=64)),
        distill_losses=dict(loss_kl=dict(type='KLDivergence'), loss_l2=dict(type='L2Loss')),
        loss_forward_mappings=dict(
            loss_kl=dict(preds_S=dict(recorder='fc', from_student=True),
                         preds_T=dict(recorder='fc', from_student=False)),
            loss_l2=dict(s_feature=dict(recorder='feat', from_student=True),
                         t_feature=dict(recorder='feat', from_student=False,
                                        connector='conv')))))
    with torch.autocast('cpu', torch.bfloat16, enabled=amp):
        losses = losses_of(model, 'cls')
    total = model.parse_losses(losses)[0]
    total.backward()
    assert torch.isfinite(total)


def test_fusing_that_would_change_what_is_read_is_refused():
    """conv1 would give what bn1 gives."""
    place = 'backbone.layer2.0.conv1'
    link = dict(student=place, teacher=place, connector='LinearConnector', loss='FeatureL2Loss')
    torch.manual_seed(0)
    teacher = build(model_config('cls', 16))
    for module in teacher.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(4.)
    plain = build(config('cls', link, teacher=copy.deepcopy(teacher), random_teacher=False))
    for key, value in teacher.state_dict().items():  # left as it is where it was not asked for
        assert torch.equal(plain.teacher.state_dict()[key], value)
    assert torch.isfinite(losses_of(plain.train(), 'cls')['distill.loss_feat'])
    with pytest.raises(ConfigError, match='backbone.layer2.0.conv1'):
        build(config('cls', link, teacher=teacher, random_teacher=False, teacher_fuse_bn=True))


def test_a_teacher_whose_init_cfg_is_loaded_later_is_not_fused_before(tmp_path):
    teacher = model_config('cls', 16)
    source = build(teacher)
    for module in source.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(4.)
    path = save(tmp_path, source.backbone.state_dict())
    teacher['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint=path)
    model = algorithm('cls', teacher=teacher)
    model.init_weights()
    for key, value in model.teacher.backbone.state_dict().items():
        assert torch.equal(value, source.backbone.state_dict()[key]), key
    assert 'init_cfg' in refused(teacher=teacher, teacher_fuse_bn=True)


@pytest.mark.parametrize('task', TASKS)
def test_a_random_teacher_is_initialised_before_it_is_fused(task):
    """As its ``init_cfg`` says: the runner does so after the fusing, where no BatchNorm is left."""
    teacher = model_config(task, 16)
    constant = dict(type='Constant', layer='BatchNorm2d', val=2., bias=1.)
    teacher['backbone']['init_cfg'] = [dict(type='Kaiming', layer='Conv2d'), constant]
    plain, fused = (algorithm(task, teacher=teacher, teacher_channels_last=False,
                              teacher_fuse_bn=fuse) for fuse in (False, True))
    weights = copy.deepcopy(fused.teacher.state_dict())
    for model in (plain, fused):
        model.init_weights()  # as the runner does
    assert all(torch.equal(value, weights[key])
               for key, value in fused.teacher.state_dict().items())
    norms = [m for m in plain.teacher.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms[0].bias.eq(1).all()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for a, b in zip(*(model.teacher.extract_feat(images) for model in (plain, fused))):
        assert torch.dist(a, b) < 1e-4 * a.norm()


# A teacher with a normalisation of its own

@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('fields', [
    dict(mean=[10., 20., 30.], std=[1., 2., 3.]),
    dict(mean=[10., 20., 30.], std=[1., 2., 3.], flip=True, pad=True)])
def test_the_teacher_gets_what_its_own_preprocessor_gives(task, fields):
    # mmseg's has no divisor of the padded size.
    fields, only_normalises_otherwise = dict(fields), 'pad' not in fields or task == 'seg'
    teacher = model_config(task, 16)
    own = teacher['data_preprocessor']
    if fields.pop('flip', None):
        own['to_rgb' if task == 'cls' else 'bgr_to_rgb'] = True
    if fields.pop('pad', None):
        own.update({'cls': dict(pad_size_divisor=48, pad_value=3),
                    'seg': dict(pad_val=3),
                    'det': dict(pad_size_divisor=48, pad_value=3)}[task])
    own.update(fields)
    link = dict(student=PLACE[task], teacher=PLACE[task], connector='MLPConnector', resize=True,
                loss=dict(type='FeatureL2Loss', loss_weight=1e-3))
    model = algorithm(task, link, teacher=teacher)
    seen = {}
    for side in ('student', 'teacher'):
        getattr(model, side).backbone.register_forward_pre_hook(
            lambda _, inputs, side=side: seen.__setitem__(side, inputs[0]))
    data = batch(task)
    if task != 'cls':
        data['inputs'][1] = data['inputs'][1][:, :40, :56]  # the second image is padded
        if task == 'seg':
            labels = data['data_samples'][1].gt_sem_seg.data[:, :40, :56]
            data['data_samples'][1].gt_sem_seg = PixelData(data=labels)
    losses_of(model, task, copy.deepcopy(data))
    for side, network in (('student', model.student), ('teacher', model.teacher)):
        expected = network.data_preprocessor(copy.deepcopy(data), True)['inputs']
        if side == 'student' or not only_normalises_otherwise:
            assert torch.equal(seen[side], expected)
            continue
        # Computed from the student's batch: rounded once more, the padding excepted.
        torch.testing.assert_close(seen[side], expected, rtol=1e-6, atol=3e-5)
        if task != 'cls':
            assert torch.equal(seen[side][1, :, 40:], expected[1, :, 40:])
            assert torch.equal(seen[side][1, ..., 56:], expected[1, ..., 56:])
    assert seen['student'].shape != seen['teacher'].shape or \
        not torch.equal(seen['student'], seen['teacher'])
    assert 'teacher_inputs' not in model.data_preprocessor(batch(task), False)


def test_the_crop_is_the_students():
    """mmseg's zoo writes the size of the training crop into the teacher's preprocessor."""
    teacher = model_config('seg', 16)
    teacher['data_preprocessor'].update(size=(64, 128), mean=[1.] * 3)
    model = algorithm('seg', teacher=teacher)
    assert model.data_preprocessor(batch('seg'), True)['teacher_inputs'].shape == (2, 3, 64, 64)


def test_equal_preprocessors_normalise_once():
    model = algorithm('cls')
    assert 'teacher_inputs' not in model.data_preprocessor(batch('cls'), True)


def test_teacher_and_student_see_the_same_random_mixup():
    augment = dict(type='ClsDataPreprocessor', mean=[0.] * 3, std=[1.] * 3, num_classes=5,
                   batch_augments=dict(augments=[dict(type='Mixup', alpha=.8)]))
    student = model_config('cls')
    student['data_preprocessor'] = augment
    model = algorithm('cls', architecture=student)
    data = model.data_preprocessor(batch('cls', images=8), True)
    torch.testing.assert_close(data['teacher_inputs'], (data['inputs'] - 120.) / 60.)
    raw = torch.stack(batch('cls', images=8)['inputs']).float()
    assert not torch.equal(data['inputs'], raw)  # it did mix


# Inheriting

def test_the_student_inherits_neck_and_head(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr('mmdistill_ext.models.teacher.inherit.print_log',
                        lambda text, **_: said.append(text))
    path = save(tmp_path, build(model_config('det', 16)).state_dict())
    model = algorithm('det', random_teacher=False, teacher_ckpt=path,
                      inherit=['neck', 'bbox_head'])
    before = copy.deepcopy(model.student.backbone.state_dict())
    model.init_weights()
    theirs = model.teacher.state_dict()
    taken = []
    for key, value in model.student.state_dict().items():
        if key.split('.')[0] in ('neck', 'bbox_head') and theirs[key].shape == value.shape:
            assert torch.equal(value, theirs[key]), key
            taken.append(key)
    lateral = 'neck.lateral_convs.0.conv.weight'  # its input is the backbone's: other shape
    assert lateral not in taken and 'neck.fpn_convs.0.conv.weight' in taken
    assert 'bbox_head.retina_cls.weight' in taken
    logged_taken, logged_left = said[0].split('not taken')
    assert all(key in logged_taken for key in taken) and lateral in logged_left
    assert not model.inheritance.taken  # the teacher's tensors do not stay
    assert before.keys() == model.student.backbone.state_dict().keys()


def test_a_fused_half_precision_teacher_passes_on_its_plain_weights(tmp_path):
    source = build(model_config('seg', 8))
    for module in source.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(1, 2)
    path = save(tmp_path, source.state_dict())
    model = algorithm('seg', teacher_width=8, teacher=model_config('seg', 8),
                      random_teacher=False, teacher_ckpt=path, inherit=['decode_head'],
                      teacher_fuse_bn=True, teacher_dtype='bf16')
    model.init_weights()
    for key, value in model.student.decode_head.state_dict().items():
        assert torch.equal(value, source.state_dict()[f'decode_head.{key}']), key


def test_inheriting_what_does_not_exist_or_does_not_fit_is_refused():
    assert "'nack'" in refused(inherit=['nack'])
    teacher = model_config('cls', 16)
    del teacher['neck']
    assert "teacher: ImageClassifier has no module 'neck'" in refused(
        inherit=['neck'], teacher=teacher)
    assert 'nothing in head' in refused(inherit=['head'], architecture={
        **model_config('cls'), 'head': dict(type='LinearClsHead', num_classes=3, in_channels=64)})


def test_features_do_not_outlive_the_step():
    model = algorithm('cls')
    losses_of(model, 'cls')
    for recorders in (model.distiller.student_recorders, model.distiller.teacher_recorders):
        assert not any(r.data_buffer for r in recorders.recorders.values())
