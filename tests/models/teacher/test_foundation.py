"""A backbone of mmpretrain, without a head, teaches a detector's and a segmentor's backbone."""
import copy

import pytest
import torch

from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.teacher.input_size import InputSize, patch_size, set_input_size
from tests.small import batch, build, model_config

VIT = dict(
    _scope_='mmpretrain', type='ImageClassifier', head=None,
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
                           to_rgb=True),
    backbone=dict(
        type='VisionTransformer', img_size=42, patch_size=14, layer_scale_init_value=1e-5,
        out_type='featmap', arch=dict(embed_dims=16, num_layers=2, num_heads=2,
                                      feedforward_channels=32)))
RESNET = dict(model_config('cls'), neck=None, head=None)
MIXER = dict(VIT, backbone=dict(
    type='MlpMixer', img_size=64, patch_size=16, arch=dict(
        embed_dims=32, num_layers=2, tokens_mlp_dims=8, channels_mlp_dims=16)))


def algorithm(task='det', teacher=VIT, place='backbone', student='backbone.layer3', **fields):
    torch.manual_seed(0)
    fields.setdefault('random_teacher', 'teacher_ckpt' not in fields)
    model = build(dict(
        type='LeanTeacherDistill', architecture=model_config(task), teacher=teacher,
        distiller=dict(type='LinkDistiller', links=dict(loss_backbone=dict(
            student=student, teacher=place, connector='MLPConnector', resize=True,
            loss=dict(type='FeatureL2Loss', loss_weight=1e-3)))), **fields))
    model.init_weights()
    return model.train()


def step(model, data):
    return model(**model.data_preprocessor(copy.deepcopy(data), True), mode='loss')


@pytest.mark.parametrize('task', ['det', 'seg'])
@pytest.mark.parametrize('teacher, place', [(VIT, 'backbone'), (RESNET, 'backbone.layer4')])
def test_the_gradient_reaches_the_students_backbone_and_not_the_teacher(task, teacher, place):
    model = algorithm(task, teacher, place, teacher_size=.875)
    before = copy.deepcopy(model.teacher.state_dict())
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), .01)
    loss = step(model, batch(task))['distill.loss_backbone']
    loss.backward()
    assert loss > 0
    assert all(p.grad is None for p in model.teacher.parameters())
    for name in ('conv1', 'layer1', 'layer3') if task == 'det' else ('stem', 'layer1', 'layer3'):
        assert any(p.grad is not None and p.grad.any()
                   for p in getattr(model.student.backbone, name).parameters()), name
    optimizer.step()
    assert step(model, batch(task))['distill.loss_backbone'] < loss
    assert all(torch.equal(value, before[key]) for key, value in model.teacher.state_dict().items())
    assert not any(key.startswith('teacher.') for key in model.state_dict())


@pytest.mark.parametrize('size, multiple, expected', [
    (.875, 14, (700, 1064)), (.4375, 14, (350, 532)), (1, 14, (798, 1218)),
    (.01, 14, (14, 14)), (.5, 1, (400, 608)), ((224, 280), 14, (224, 280))])
def test_size(size, multiple, expected):
    assert InputSize(size, multiple).of((800, 1216)) == expected


def test_halves_go_up_on_both_axes():
    assert InputSize(1, 4).of((10, 14)) == (12, 16)


@pytest.mark.parametrize('teacher, expected', [(VIT, 14), (RESNET, 1), (MIXER, 16)])
def test_patch_size(teacher, expected):
    assert patch_size(build(teacher).backbone) == expected


def bilinear(images, size):
    """Each pixel from its four neighbours, in double precision; edges repeat."""
    for axis, count in ((2, size[0]), (3, size[1])):
        length = images.shape[axis]
        at = ((torch.arange(count).double() + .5) * length / count - .5).clamp(0, length - 1)
        low = at.floor().long()
        share = (at - low).view(-1, 1) if axis == 2 else at - low
        images = (images.index_select(axis, low) * (1 - share)
                  + images.index_select(axis, (low + 1).clamp(max=length - 1)) * share)
    return images


SEEN = [(.875, (56, 56)), (1.25, (84, 84)), ((42, 70), (42, 70))]  # of 64x64, in patches of 14


@pytest.mark.parametrize('size, expected', SEEN)
def test_images_are_resized(size, expected):
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    resized, = InputSize(size, 14)(None, (images,))
    torch.testing.assert_close(resized, bilinear(images, expected))


@pytest.mark.parametrize('size, expected', SEEN)
@pytest.mark.parametrize('dtype', [None, 'bf16'])
def test_the_teacher_sees_images_of_its_size(size, expected, dtype):
    """In a step and in the dry run; the student's stay as they are."""
    seen = []
    model = algorithm('det', teacher_size=size, teacher_dtype=dtype)
    for embed in (model.teacher.backbone.patch_embed, model.student.backbone.conv1):
        embed.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    data = model.data_preprocessor(batch('det'), True)
    model(**data, mode='loss')
    theirs, own = seen
    assert own is data['inputs'] and tuple(theirs.shape[2:]) == expected
    batch_ = data['teacher_inputs'].to(theirs.dtype)
    assert torch.equal(theirs, InputSize(size, 14)(None, (batch_,))[0])
    dry = model.distiller.dry_run(model.teacher, 'teacher')['backbone'][0][0]
    assert tuple(dry.shape[2:]) == tuple(
        side // 14 for side in InputSize(size, 14).of((128, 128)))


def test_a_teacher_that_had_another_size_is_resized_once():
    teacher = build(VIT)
    for size in (.5, .875):
        set_input_size(teacher, size)
    hooks = teacher.backbone._forward_pre_hooks.values()
    assert [hook.size for hook in hooks] == [.875]


def test_a_copy_keeps_the_size():
    """A moving average of the weights is one."""
    model = copy.deepcopy(algorithm(teacher_size=.5))
    assert model.distiller.dry_run(model.teacher, 'teacher')['backbone'][0][0].shape[2:] == (5, 5)


@pytest.mark.parametrize('task', ['det', 'seg'])
def test_images_of_no_whole_number_of_patches(task):
    """mmpretrain pads them: 64 is five patches of 14, the last one half empty."""
    shapes = []
    model = algorithm(task)
    model.teacher.backbone.layers[0].register_forward_hook(
        lambda _, __, tokens: shapes.append(tuple(tokens.shape)))
    assert torch.isfinite(step(model, batch(task))['distill.loss_backbone'])
    assert shapes == [(2, 1 + 5 * 5, 16)]


def test_the_teacher_stops_after_the_feature():
    model, ran = algorithm(place='backbone.layers.0', student='backbone.layer3',
                           teacher=dict(VIT, backbone=dict(
                               VIT['backbone'], img_size=64, patch_size=16))), []
    model.teacher.backbone.layers[1].register_forward_hook(lambda *_: ran.append(1))
    step(model, batch('det'))
    assert not ran


def test_a_backbone_that_takes_one_size_only():
    model = algorithm('seg', MIXER, 'backbone.layers.1')
    step(model, batch('seg'))
    data = batch('seg', size=96)
    model.data_preprocessor.student.size = (96, 96)
    with pytest.raises(ConfigError, match=r'the teacher \(MlpMixer, built for images of 64x64\) '
                       r'does not run on 96x96: .*; expected teacher_size=\(64, 64\)'):
        step(model, data)


@pytest.fixture
def checkpoint(tmp_path):
    """As public ones are: with a head, a token for masked patches, and names of other classes."""

    def saved(teacher, **more):
        weights = build(teacher).state_dict()
        weights['backbone.mask_token'] = torch.zeros(1, 16)
        weights.update(more)
        torch.save(dict(state_dict=weights, meta=dict(dataset_meta=dict(classes=('cat', 'dog')))),
                   tmp_path / 'teacher.pth')
        return str(tmp_path / 'teacher.pth')

    return saved


def test_a_public_checkpoint_loads_without_its_head(checkpoint):
    head = {'head.fc.weight': torch.zeros(5, 16), 'head.fc.bias': torch.zeros(5)}
    path = checkpoint(VIT, **head)
    model = algorithm(teacher_ckpt=path, teacher_size=.875)
    for key, value in torch.load(path, weights_only=False)['state_dict'].items():
        if key in model.teacher.state_dict():
            assert torch.equal(model.teacher.state_dict()[key], value)
    assert torch.isfinite(step(model, batch('det'))['distill.loss_backbone'])


@pytest.mark.parametrize('key', ['backbone.other.weight', 'decoder.weight'])
def test_any_other_weight_is_still_an_error(checkpoint, key):
    with pytest.raises(ConfigError, match=key):
        algorithm(teacher_ckpt=checkpoint(VIT, **{key: torch.zeros(1)}))


def test_with_a_head_nothing_may_be_left(checkpoint):
    with pytest.raises(ConfigError, match='mask_token'):
        algorithm(teacher=model_config('cls'), place='backbone.layer4',
                  teacher_ckpt=checkpoint(model_config('cls')))


def test_classes_are_not_compared_without_a_head(checkpoint):
    from types import SimpleNamespace as Has

    from mmdistill_ext.engine.hooks import SameClassesHook
    data = Has(dataset=Has(metainfo=dict(classes=('a', 'b', 'c', 'd'))))

    def check(model):
        SameClassesHook().before_train(Has(model=model, train_dataloader=data))

    model = algorithm(teacher_ckpt=checkpoint(VIT))
    assert model.teacher.checkpoint_classes == ('cat', 'dog')
    check(model)
    with pytest.raises(ConfigError, match="the teacher's head has 5"):
        check(algorithm(teacher=model_config('cls'), place='backbone.layer4'))


BAD = [(518, 'found 518'), (0, 'found 0'), (-1., 'found -1.0'), (True, 'found True'),
       ((518,), r'found \(518,\)'), ((0, 518), r'found \(0, 518\)'), ((.5, .5), r'found \(0.5'),
       ('518', "found '518'"), (float('nan'), 'found nan')]


@pytest.mark.parametrize('size, found', BAD)
def test_a_size_that_is_none(size, found):
    with pytest.raises(ConfigError, match=f'teacher_size is a factor up to 4 .*{found}'):
        algorithm(teacher_size=size)


def test_what_cannot_be_read_of_images_of_another_size():
    with pytest.raises(ConfigError, match="teacher_size, link 'loss_backbone': tokens cannot bec"):
        algorithm(teacher=dict(VIT, backbone=dict(
            VIT['backbone'], img_size=64, patch_size=16)), place='backbone.layers.1',
            teacher_size=.5)
    with pytest.raises(ConfigError, match="teacher_size: the teacher is read at 'bbox_head.cls_c"):
        algorithm(teacher=model_config('det'), place='bbox_head.cls_convs.0',
                  student='bbox_head.cls_convs.0',
                  teacher_size=.5)


def test_an_error_that_has_other_reasons_keeps_its_traceback():
    model = algorithm()
    model.teacher.backbone.layers[0].register_forward_pre_hook(
        lambda _, args: (args[0][..., :3],))  # at any size
    with pytest.raises(RuntimeError, match='normalized_shape'):
        step(model, batch('det'))


def test_a_teacher_without_head_cannot_be_trained():
    with pytest.raises(ConfigError, match='teacher_trainable=True needs a teacher with a head, f'):
        algorithm(teacher_trainable=True)
    with pytest.raises(ConfigError, match='teacher_size=0.5 is for a frozen teacher, and teacher_'):
        algorithm(teacher_trainable=True, teacher_size=.5)


@pytest.mark.parametrize('fields, found', [
    (dict(teacher=RESNET), 'head'),
    (dict(teacher=model_config('cls', 16), teacher_size=.5), 'teacher_size: FCFDDistill runs')])
def test_fcfd_needs_heads_and_images_of_one_size(fields, found):
    with pytest.raises(ConfigError, match=found):
        build(dict(type='FCFDDistill', architecture=model_config('cls'), random_teacher=True,
                   **fields))


def test_its_whole_forward_runs_where_a_function_is_read():
    """mmpretrain's loss would ask the head."""
    record = dict(type='ModuleOutputs', source='backbone.layer3')
    model = build(dict(
        type='LeanTeacherDistill', architecture=model_config('det'), teacher=VIT,
        random_teacher=True, distiller=dict(
            type='ConfigurableDistiller', student_recorders=dict(
                map=record, inner=dict(record, source='backbone.layer3.1.conv2')),
            teacher_recorders=dict(grid=dict(
                type='FunctionOutputs',
                source='mmpretrain.models.backbones.vision_transformer.resize_pos_embed')),
            distill_losses=dict(loss_map=dict(type='L2Loss')),
            loss_forward_mappings=dict(loss_map=dict(
                s_feature=dict(from_student=True, recorder='map'),
                t_feature=dict(from_student=True, recorder='inner')))))).train()
    assert 'student.loss_cls' in step(model, batch('det'))
