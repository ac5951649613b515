"""Links: what they expand to, and what they refuse."""
import pytest
import torch
from mmengine.config import ConfigDict
from mmrazor.registry import MODELS

from mmdistill_ext.errors import ConfigError
from tests.small import batch, build, model_config

PLACE = dict(cls='backbone.layer4', seg='backbone.layer4', det='neck')


def algorithm(task='cls', student_width=8, teacher_width=16, recorders=None, **links):
    distiller = dict(type='LinkDistiller', links=links, **(recorders or {}))
    torch.manual_seed(0)
    return build(dict(
        type='LeanTeacherDistill', random_teacher=True, distiller=distiller,
        architecture=model_config(task, student_width), teacher=model_config(task, teacher_width)))


def mlp_link(task, **fields):
    return dict(dict(student=PLACE[task], teacher=PLACE[task], connector='MLPConnector',
                     loss=dict(type='FeatureL2Loss', loss_weight=.5)), **fields)


def losses_of(model, task):
    model.train()
    data = model.data_preprocessor(batch(task), True)
    return model(**data, mode='loss')


def error_of(*args, **kwargs):
    with pytest.raises(ConfigError) as error:
        algorithm(*args, **kwargs)
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('task, levels', [('cls', 1), ('seg', 1), ('det', 5)])
def test_every_level_has_a_connector_of_its_own_and_the_link_one_loss(task, levels):
    model = algorithm(task, loss_feat=mlp_link(task))
    connectors = model.distiller.connectors
    assert list(connectors) == [f'loss_feat_{i}' for i in range(levels)]
    assert len({id(p) for p in connectors.parameters()}) == 4 * levels
    losses = losses_of(model, task)
    assert [key for key in losses if key.startswith('distill.')] == ['distill.loss_feat']
    losses['distill.loss_feat'].backward()
    assert all(p.grad is not None for p in connectors.parameters())


def test_the_loss_is_the_sum_over_levels_of_the_equation():
    model = algorithm('det', loss_feat=mlp_link('det'))
    features = {}
    for side in ('student', 'teacher'):
        getattr(model, side).neck.register_forward_hook(
            lambda _, __, output, side=side: features.__setitem__(side, output), prepend=True)
    loss = losses_of(model, 'det')['distill.loss_feat']
    expected = 0.
    for level, (s, t) in enumerate(zip(features['student'], features['teacher'])):
        mlp = model.distiller.connectors[f'loss_feat_{level}'].double()
        expected += .5 * ((mlp(s.double()) - t.double()) ** 2).sum() / len(s)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize('task', ['cls', 'seg', 'det'])
def test_links_and_mmrazors_recorders_give_bit_equal_losses(task):
    linked = algorithm(task, loss_feat=mlp_link(task))
    names = [f'loss_feat_{i}' for i in range(len(linked.distiller.connectors))]
    source = dict(type='ModuleOutputs', source=PLACE[task])
    data_idx = (lambda i: dict(data_idx=i)) if task == 'det' else (lambda i: {})
    sizes = {name: [p for p in module.parameters()] for name, module in
             linked.distiller.connectors.items()}
    torch.manual_seed(0)
    plain = build(dict(
        type='LeanTeacherDistill', random_teacher=True,
        architecture=model_config(task, 8), teacher=model_config(task, 16),
        distiller=dict(
            type='ConfigurableDistiller',
            student_recorders=dict(feat=source), teacher_recorders=dict(feat=source),
            connectors={name: dict(type='MLPConnector', in_channels=sizes[name][0].shape[1],
                                   out_channels=sizes[name][2].shape[0]) for name in names},
            distill_losses={name: dict(type='FeatureL2Loss', loss_weight=.5) for name in names},
            loss_forward_mappings={name: {
                key: dict(recorder='feat', from_student=side == 'student', **data_idx(i),
                          **(dict(connector=name) if side == 'student' else {}))
                for key, side in zip(_feature_arguments(), ('student', 'teacher'))}
                for i, name in enumerate(names)})))
    plain.load_state_dict({k: v for k, v in linked.state_dict().items()})
    plain.teacher.load_state_dict(linked.teacher.state_dict())
    ours, theirs = losses_of(linked, task), losses_of(plain, task)
    total = sum(theirs[f'distill.{name}'] for name in names)
    assert torch.equal(ours.pop('distill.loss_feat'), total)
    for key, value in ours.items():
        value, other = ((v if isinstance(v, list) else [v]) for v in (value, theirs[key]))
        assert all(torch.equal(a, b) for a, b in zip(value, other)), key


def _feature_arguments():
    from inspect import signature
    return list(signature(MODELS.get('FeatureL2Loss').forward).parameters)[1:3]


def test_links_and_recorders_work_side_by_side():
    source = dict(type='ModuleOutputs', source='head.fc')
    recorders = dict(
        student_recorders=dict(fc=source), teacher_recorders=dict(fc=source),
        distill_losses=dict(loss_kl=dict(type='KLDivergence', tau=2)),
        loss_forward_mappings=dict(loss_kl=dict(
            preds_S=dict(recorder='fc', from_student=True),
            preds_T=dict(recorder='fc', from_student=False))))
    model = algorithm('cls', recorders=recorders, loss_feat=mlp_link('cls'))
    losses = losses_of(model, 'cls')
    assert {'distill.loss_kl', 'distill.loss_feat'} <= losses.keys()


def test_a_place_read_by_two_links_is_recorded_once():
    model = algorithm('cls', loss_a=mlp_link('cls'), loss_b=mlp_link('cls'))
    assert len(model.distiller.student_recorders.recorders) == 1


def test_several_places_are_levels():
    places = ['backbone.layer3', 'backbone.layer4']
    model = algorithm('cls', loss_feat=mlp_link('cls', student=places, teacher=places))
    shapes = [[list(p.shape[:2]) for p in connector.parameters() if p.ndim == 4]
              for connector in model.distiller.connectors.values()]
    assert shapes == [[[64, 32], [64, 64]], [[128, 64], [128, 128]]]
    assert torch.isfinite(losses_of(model, 'cls')['distill.loss_feat'])


def test_a_module_that_runs_once_a_level_gives_its_levels():
    model = algorithm('det', loss_cls=dict(
        student='bbox_head.retina_cls', teacher='bbox_head.retina_cls',
        loss=dict(type='FeatureL2Loss', loss_weight=1.)))
    assert len(model.distiller.levels['loss_cls']) == 5
    assert losses_of(model, 'det')['distill.loss_cls'] > 0


def test_resize_brings_the_student_to_the_teachers_size():
    link = mlp_link('cls', student='backbone.layer4', teacher='backbone.layer3')
    assert 'differ in height or width' in error_of('cls', loss_feat=link)
    assert losses_of(algorithm('cls', loss_feat=dict(link, resize=True)), 'cls')


def bilinear(old, new):
    """``[new, old]``: what each pixel of a line of ``new`` takes from the centres of ``old``."""
    weights = torch.zeros(new, old, dtype=torch.double)
    for i in range(new):
        place = min(max((i + .5) * old / new - .5, 0), old - 1)
        left = int(place)
        weights[i, left] += 1 - (place - left)
        weights[i, min(left + 1, old - 1)] += place - left
    return weights


@pytest.mark.parametrize('student, teacher', [('layer4', 'layer3'), ('layer3', 'layer4')])
def test_resize_is_bilinear_between_the_centres_of_pixels(student, teacher):
    link = mlp_link('cls', student=f'backbone.{student}', teacher=f'backbone.{teacher}')
    model = algorithm('cls', loss_feat=dict(link, resize=True)).double()
    sides = dict(student=model.student.backbone.get_submodule(student),
                 teacher=model.teacher.backbone.get_submodule(teacher),
                 resized=next(iter(model.distiller.connectors.values())))
    seen = {}
    for side, module in sides.items():
        module.register_forward_hook(lambda _, args, y, side=side: seen.update(
            {side: args[0] if side == 'resized' else y}), prepend=True)  # the teacher stops there
    data = model.data_preprocessor(batch('cls'), True)
    model(data['inputs'].double(), data['data_samples'], mode='loss')
    rows, columns = (bilinear(old, new) for old, new in zip(
        seen['student'].shape[2:], seen['teacher'].shape[2:]))
    assert rows.shape[0] != rows.shape[1] and min(rows.shape) > 1
    expected = torch.einsum('nchw,yh,xw->ncyx', seen['student'], rows, columns)
    torch.testing.assert_close(seen['resized'], expected, rtol=1e-10, atol=1e-12)


def test_a_link_without_teacher_gives_the_loss_the_students_list():
    model = build(dict(
        type='TeacherFreeDistill', architecture=model_config('cls'),
        distiller=dict(type='LinkDistiller', links=dict(loss_inter=dict(
            student=['backbone.layer2', 'backbone.layer3'],
            loss=dict(type='TfFDInterLoss', loss_weight=1e-2))))))
    assert not list(model.distiller.parameters())
    plain = build(model_config('cls')).state_dict()  # what is exported is the plain student
    assert {key: value.shape for key, value in model.state_dict().items()} == {
        f'architecture.{key}': value.shape for key, value in plain.items()}
    assert losses_of(model, 'cls')['distill.loss_inter'] > 0


def test_building_leaves_modes_and_random_state_alone():
    torch.manual_seed(3)
    student, teacher = build(model_config('cls')), build(model_config('cls', 16))
    student.train()
    stats = {k: v.clone() for k, v in student.state_dict().items()}
    state = torch.get_rng_state()
    MODELS.build(ConfigDict(
        _scope_='mmrazor', type='LeanTeacherDistill', architecture=student, teacher=teacher,
        distiller=dict(type='LinkDistiller', links=dict(loss_f=mlp_link(
            'cls', connector=None, teacher='head.fc', student='head.fc')))))
    assert torch.equal(state, torch.get_rng_state())
    assert all(module.training for module in student.modules())
    assert all(torch.equal(v, stats[k]) for k, v in student.state_dict().items())


@pytest.mark.parametrize('fields, parts', [
    (dict(student='backbone.layer5'), ['loss_feat', "'backbone.layer5'", 'backbone.layer4']),
    (dict(teacher='bakbone.layer4'), ['loss_feat', 'teacher', "'bakbone.layer4'",
                                      "'backbone.layer4'"]),
    (dict(conector='MLPConnector'), ["'conector'", "did you mean 'connector'"]),
    (dict(connector='MLPConector'), ["'MLPConector'", "'MLPConnector'"]),
    (dict(loss='FeatureL3Loss'), ["'FeatureL3Loss'", "'FeatureL2Loss'"]),
    (dict(loss=None), ["'loss' is missing"]),
    (dict(loss=dict(type='FeatureL2Loss', wait=1)), ["'FeatureL2Loss'", 'wait']),
    (dict(loss=dict(type='DKDLoss')), ['gt_labels']),
    (dict(loss=dict(type='FeatureL2Loss', loss_weight=-1.)), ['loss_weight', '-1.0']),
    (dict(loss=dict(type='FeatureL2Loss', loss_weight=float('nan'))), ['loss_weight', 'nan']),
    (dict(loss=dict(type='FeatureL2Loss', loss_weight='2')), ['loss_weight', "'2'"]),
    (dict(connector=None), ['[64, 4, 4]', '[128, 4, 4]']),
    (dict(connector=dict(type='MLPConnector', in_channels=7)), ['in_channels=7', '64']),
    (dict(connector=dict(type='MLPConnector', out_channels=7)), ['out_channels=7', '128']),
    (dict(student=['backbone.layer3', 'backbone.layer4']), ['2 features', '1']),
    (dict(student=['backbone.layer4', 'backbone.layer4']), ['twice']),
    (dict(student=7), ['module names', '7']),
    (dict(resize='yes'), ['resize', 'yes']),
    (dict(student='backbone.layer4.1.bn2'), ['overwrites', 'backbone.layer4.1.bn2']),
])
def test_a_wrong_link_is_refused_when_the_model_is_built(fields, parts):
    message = error_of('cls', loss_feat=mlp_link('cls', **fields))
    for part in ['loss_feat', *parts]:
        assert part in message


def test_a_link_name_without_loss_is_refused():
    assert "'loss_feat'" in error_of('cls', feat=mlp_link('cls'))


def test_a_module_that_never_runs_is_refused():
    message = error_of('seg', loss_feat=mlp_link('seg', student='decode_head', connector=None))
    assert 'never runs' in message and 'decode_head' in message


def test_only_the_layer_that_would_overwrite_a_feature_loses_its_inplace():
    """layer1.0.bn1's output goes into an in-place ReLU; no other ReLU is touched."""
    link = dict(student='backbone.layer1.0.bn1', teacher='backbone.layer1.0.bn1',
                connector='LinearConnector', loss='FeatureL2Loss')
    model = algorithm('cls', loss_feat=link)
    for network in (model.student, model.teacher):
        changed = [name for name, module in network.named_modules()
                   if getattr(module, 'inplace', True) is False]
        assert changed == ['backbone.layer1.0.relu']


def test_an_output_that_a_module_read_as_well_writes_into_is_refused():
    """The block's output is bn2's, after `out += identity` and an in-place ReLU."""
    places = ['backbone.layer1.0.bn2', 'backbone.layer1.0']
    message = error_of('cls', loss_feat=dict(
        student=places, teacher='backbone.layer1', loss='FeatureL2Loss'))
    assert 'student of loss_feat' in message and 'overwrites' in message


def vit(**fields):
    config = dict(model_config('cls'), backbone=dict(
        type='VisionTransformer', out_type='featmap', patch_size=16, img_size=64, arch=dict(
            embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16)))
    config['head']['in_channels'] = 16
    config['backbone'].update(fields)
    return config


def test_both_run_on_images_of_one_size_whatever_either_was_built_for():
    link = dict(student='backbone.layer3', teacher='backbone', connector='MLPConnector',
                loss='FeatureL2Loss')
    swin = vit()
    swin['backbone'] = dict(type='SwinTransformer', out_indices=(2, ), arch=dict(
        embed_dims=4, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1]))
    for teacher in (vit(), swin):  # Swin's last window needs 224 pixels; the student runs on any
        model = build(dict(
            type='LeanTeacherDistill', random_teacher=True, architecture=model_config('cls'),
            teacher=teacher, distiller=dict(type='LinkDistiller', links=dict(loss_feat=link))))
        assert len(model.distiller.levels['loss_feat']) == 1


def test_a_loss_of_weight_zero_is_named_for_it_teaches_nothing(log):
    algorithm(loss_one=mlp_link('cls'),
              loss_two=mlp_link('cls', loss=dict(type='FeatureL2Loss', loss_weight=0)))
    said = [line for line in log.messages if 'teaches nothing' in line]
    assert said == ["link 'loss_two': loss_weight=0, so this loss teaches nothing"]


@pytest.mark.parametrize('loss', [
    dict(type='L2Loss'), dict(type='ATLoss', loss_weight=1.), dict(type='ChannelWiseDivergence'),
    dict(type='PKDLoss')])
def test_mmrazors_losses_take_a_channels_last_teacher(loss):
    place = 'backbone.layer4'
    model = algorithm('cls', teacher_width=8, loss_feat=dict(
        student=place, teacher=place, loss=loss))
    assert model.teacher_channels_last
    assert torch.isfinite(losses_of(model, 'cls')['distill.loss_feat'])


def test_a_network_of_grey_images():
    student = model_config('cls')
    student['backbone']['in_channels'] = 1
    student['data_preprocessor'] = dict(type='ClsDataPreprocessor', mean=[1.], std=[1.])
    model = build(dict(
        type='TeacherFreeDistill', architecture=student, distiller=dict(
            type='LinkDistiller', links=dict(loss_intra=dict(
                student=['backbone.layer3'], loss=dict(type='TfFDIntraLoss', loss_weight=1.))))))
    images = [image[:1] for image in batch('cls')['inputs']]
    data = model.data_preprocessor(dict(batch('cls'), inputs=images), True)
    assert 'distill.loss_intra' in model.train()(**data, mode='loss')


@pytest.mark.parametrize('form', [
    lambda x: [x, (x + 1, [x + 2])], lambda x: dict(a=x, b=[x + 1, x + 2])])
def test_levels_of_outputs_inside_outputs(form):
    """As an RPN gives them: (scores of each level, boxes of each level); or a dict."""
    networks = [build(model_config('cls', 8)) for _ in range(2)]
    for network in networks:
        network.backbone.layer4.register_forward_hook(lambda _, __, x: form(x))
        network.backbone.out_indices = (2, )
    model = build(dict(
        type='LeanTeacherDistill', architecture=networks[0], teacher=networks[1],
        teacher_fuse_bn=False, distiller=dict(type='LinkDistiller', links=dict(
            loss_feat=dict(student='backbone.layer4', teacher='backbone.layer4',
                           loss='FeatureL2Loss')))))
    link = model.distiller.links[0]
    features = []
    for side in ('student', 'teacher'):
        tensor = torch.randn(2, 8, 3, 3)
        features.append(tensor)
        getattr(model.distiller, f'{side}_recorders').get_recorder(
            'link backbone.layer4').data_buffer.append(form(tensor))
    losses = model.distiller.level_losses(link)
    assert len(losses) == 3
    expected = (features[0] - features[1]).square().sum() / 2
    for loss in losses:
        torch.testing.assert_close(loss, expected)


def test_building_on_the_cpu_leaves_the_gpus_alone(monkeypatch):
    def touched(*_):
        raise AssertionError('a GPU was asked')

    monkeypatch.setattr(torch.cuda, 'device_count', touched)
    monkeypatch.setattr(torch.cuda, 'get_rng_state', touched)
    algorithm('cls', loss_feat=mlp_link('cls'))


def test_features_of_a_student_that_teaches_itself_do_not_outlive_the_step():
    model = build(dict(
        type='TeacherFreeDistill', architecture=model_config('cls'),
        distiller=dict(type='LinkDistiller', links=dict(loss_self=dict(
            student='backbone.layer3', teacher='backbone.layer4', connector='MLPConnector',
            resize=True, loss='FeatureL2Loss')))))
    assert 'distill.loss_self' in losses_of(model, 'cls')
    for recorders in (model.distiller.student_recorders, model.distiller.teacher_recorders):
        assert not any(r.data_buffer for r in recorders.recorders.values())
