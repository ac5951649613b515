import pytest
import torch
from mmrazor.registry import MODELS
from torch.autograd.graph import saved_tensors_hooks

from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.losses.feature_l2 import feature_l2, feature_mse


def pair(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return student.to(dtype).requires_grad_(), teacher.to(dtype)


def reference(student, teacher):
    """Loss and gradient, one element after the other."""
    batch = len(student)
    loss, grad = 0., torch.zeros(student.shape, dtype=torch.float64)
    flat_grad = grad.view(-1)
    for i, (s, t) in enumerate(zip(student.flatten().tolist(), teacher.flatten().tolist())):
        loss += (s - t)**2 / batch
        flat_grad[i] = 2 * (s - t) / batch
    return loss, grad


def saved_bytes(function):
    """What autograd holds on to after the call: every distinct tensor once."""
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        result = function()
    return result, list(storages.values())


@pytest.mark.parametrize('shape', [(2, 3, 4, 5), (3, 7), (1, 1, 1, 1)])
def test_equals_the_reference(shape):
    student, teacher = pair(*shape)
    loss = MODELS.build(dict(type='FeatureL2Loss', loss_weight=7e-5))(student, teacher)
    loss.backward()
    want, grad = reference(student, teacher)
    assert abs(loss.item() - 7e-5 * want) < 1e-10
    assert torch.allclose(student.grad, 7e-5 * grad, rtol=0, atol=1e-10)


def test_gradient_is_the_derivative():
    student, teacher = pair(2, 3, 2, 2)
    assert torch.autograd.gradcheck(feature_l2, (student, teacher))


def test_the_teacher_never_gets_a_gradient():
    student, teacher = pair(2, 3, 2, 2)
    teacher.requires_grad_()
    feature_l2(student, teacher).backward()
    assert teacher.grad is None and student.grad is not None
    assert not feature_l2(student.detach(), teacher).requires_grad


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_saves_one_tensor_of_the_student_s_size(dtype):
    student, teacher = pair(2, 8, 4, 4, dtype=dtype)
    _, saved = saved_bytes(lambda: feature_l2(student, teacher))
    assert saved == [student.numel() * student.element_size()]


def test_a_teacher_in_half_precision_saves_no_more():
    student, teacher = pair(2, 8, 4, 4, dtype=torch.float32)
    _, saved = saved_bytes(lambda: feature_l2(student, teacher.bfloat16()))
    assert saved == [student.numel() * 4]


@pytest.mark.parametrize('dtype,precision', [(torch.float16, 2**-10), (torch.bfloat16, 2**-7)])
def test_half_precision_is_summed_in_float32(dtype, precision):
    # 2^17 differences of 1: float16 ends at 65504, and both stop adding ones long before.
    student = torch.ones(1, 2, 256, 256, dtype=dtype, requires_grad=True)
    loss = feature_l2(student, torch.zeros_like(student))
    assert loss.dtype == torch.float32 and loss.item() == 2**17

    student, teacher = pair(2, 4, 8, 8, dtype=dtype)
    loss = feature_l2(student, teacher)
    loss.backward()
    want, grad = reference(student, teacher)
    assert abs(loss.item() - want) < 1e-5 * want
    assert student.grad.dtype == dtype
    assert torch.allclose(student.grad.double(), grad, rtol=precision, atol=0)


def test_a_weight_that_half_precision_rounds_to_zero():
    student, teacher = pair(64, 2, 2, 2, dtype=torch.float16)
    student = (student.detach() * 1e4).requires_grad_()
    assert torch.tensor(5e-7 * 2 / 64, dtype=torch.float16) == 0
    MODELS.build(dict(type='FeatureL2Loss', loss_weight=5e-7))(student, teacher).backward()
    _, grad = reference(student, teacher)
    assert torch.allclose(student.grad.double(), grad * 5e-7, rtol=2**-9, atol=2**-24)


def test_large_maps_keep_float32_accuracy():
    student, teacher = pair(2, 64, 64, 64, dtype=torch.float32)
    want = (student.detach().double() - teacher.double()).square().sum().item() / 2
    assert abs(feature_l2(student, teacher).item() - want) < 1e-6 * want


def test_under_autocast():
    student, teacher = pair(2, 3, 4, 4, dtype=torch.float32)
    with torch.autocast('cpu', torch.bfloat16):
        loss = feature_l2(student, teacher)
    assert abs(loss.item() - reference(student, teacher)[0]) < 1e-5


@pytest.mark.parametrize('loss, divisor', [(feature_l2, 1), (feature_mse, 3 * 4 * 5)])
@pytest.mark.parametrize('student_format', [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize('teacher_format', [torch.channels_last, torch.contiguous_format])
def test_the_gradient_lies_as_the_student_does(loss, divisor, student_format, teacher_format):
    student, teacher = pair(2, 3, 4, 5)
    value, gradient = reference(student, teacher)  # a sum over all but the batch
    inputs = student.detach().clone(memory_format=student_format).requires_grad_()
    found = loss(inputs, teacher.clone(memory_format=teacher_format))
    assert found.item() == pytest.approx(value / divisor, rel=1e-10)
    grad, = torch.autograd.grad(found, inputs)  # as it goes on, not as a leaf keeps it
    assert torch.allclose(grad, gradient / divisor, rtol=0, atol=1e-10)
    assert grad.is_contiguous(memory_format=student_format)


def test_shapes_must_agree():
    student, teacher = pair(2, 3, 4, 4)[0], pair(2, 3, 2, 2)[1]
    with pytest.raises(ConfigError, match=r'\(2, 3, 4, 4\).*\(2, 3, 2, 2\)') as error:
        feature_l2(student, teacher)
    assert '\n' not in str(error.value)
    with pytest.raises(ConfigError):  # would broadcast
        feature_l2(student, pair(2, 1, 4, 4)[1])
