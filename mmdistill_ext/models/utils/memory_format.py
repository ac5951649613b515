"""Networks in the channels_last memory format, where their operators take it."""
from typing import Optional

import torch
from torch import Tensor, nn

from ...errors import ConfigError


def channels_last(network: nn.Module, wanted: Optional[bool], field: str,
                  dtype: Optional[str] = None) -> bool:
    """Put a network into the channels_last memory format; whether it is in it now.

    Args:
        network (nn.Module): Changed in place.
        wanted (bool, optional): None for wherever its operators can and gain by it: convolutions
            in groups do so in half precision only.
        field (str): What the config calls it.
        dtype (str, optional): The half precision that it will run in.
    """
    in_groups = any(getattr(module, 'groups', 1) > 1 for module in network.modules())
    fixed = {type(module).__name__ for module in network.modules()
             if type(module).__module__.startswith('mmcv.ops')}
    if wanted and fixed:
        raise ConfigError(f'{field}: {", ".join(sorted(fixed))} of mmcv takes contiguous tensors '
                          'only; leave the field out')
    if wanted is False or fixed or (wanted is None and in_groups and not dtype):
        return False
    network.to(memory_format=torch.channels_last)
    shield_narrow_convolutions(network)
    return True


def student_in_channels_last(student: nn.Module, wanted: bool) -> None:
    """A student in channels_last, whose batches are put into it as they come in."""
    if channels_last(student, wanted, 'student_channels_last'):
        student.register_forward_pre_hook(_batch_channels_last)
    else:  # FCFD: features of a teacher in channels_last run through the student
        shield_narrow_convolutions(student)


def shield_narrow_convolutions(network: nn.Module) -> None:
    """Keep from channels_last, on CPUs, what writes past its memory there.

    In oneDNN the gradient of the weights of a 1x1 convolution with a stride and fewer input
    channels than a register holds (16 with AVX-512, 8 with AVX2) overruns its workspace:
    uxlfoundation/oneDNN#6035.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) \
                and max(module.stride) > 1 and module.weight.shape[1] < 16:
            module.weight.data = module.weight.data.clone(memory_format=torch.contiguous_format)
            module.register_forward_pre_hook(_contiguous)


def _contiguous(_, args: tuple) -> tuple:
    return tuple(x.contiguous() if x.device.type == 'cpu' else x for x in args)


def _batch_channels_last(_, args: tuple) -> tuple:
    batch, *rest = args
    if isinstance(batch, Tensor):  # mmpretrain may hand over a list of images
        batch = batch.contiguous(memory_format=torch.channels_last)
    return batch, *rest
