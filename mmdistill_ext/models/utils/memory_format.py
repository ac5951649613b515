"""Networks in the channels_last memory format, where their operators take it."""
from contextlib import ExitStack
from typing import Callable, Optional

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ...errors import ConfigError


def channels_last(network: nn.Module, wanted: Optional[bool], field: str,
                  dtype: Optional[str] = None, run: Callable = lambda: None,
                  whole: bool = True) -> bool:
    """Put a network into the channels_last memory format; whether it is in it now.

    Args:
        network (nn.Module): Changed in place.
        wanted (bool, optional): None for wherever its operators can and gain by it: convolutions
            in groups do so in half precision only. Where they cannot, the log says why.
        field (str): What the config calls it.
        dtype (str, optional): The half precision that it will run in.
        run (Callable): Runs it on a tiny input. By default it is not tried.
        whole (bool): Whether more of it than ``run`` runs may run in training. Defaults to True.
    """
    in_groups = any(getattr(module, 'groups', 1) > 1 for module in network.modules())
    if wanted is False or (wanted is None and in_groups and not dtype):
        return False
    reason = _contiguous_only(network, run, whole) or _put(network, run)
    if reason and wanted:
        raise ConfigError(f'{field}: {reason}; leave the field out')
    if reason:
        print_log(f'{field}=False: {reason}', logger='current')
        return False
    shield_narrow_convolutions(network)
    return True


def _contiguous_only(network: nn.Module, run: Callable, whole: bool) -> Optional[str]:
    """The operators of mmcv that run and would read another format wrongly; None without them."""
    operators = [module for module in network.modules()
                 if type(module).__module__.startswith('mmcv.ops')]
    ran = set(operators)
    if operators and not whole:
        ran.clear()
        with ExitStack() as hooks:
            for module in operators:
                hooks.callback(
                    module.register_forward_pre_hook(lambda module, _: ran.add(module)).remove)
            run()
    names = ', '.join(sorted({type(module).__name__ for module in ran}))
    return f'{names} of mmcv takes contiguous tensors only' if names else None


def _put(network: nn.Module, run: Callable) -> Optional[str]:
    """Put a network into channels_last; if it does not run in it, put it back and return why."""
    # Not its own `to`: mmdet's LD takes a device only.
    nn.Module.to(network, memory_format=torch.channels_last)
    try:
        run()
    except Exception as error:  # of any operator, or of a view that wants contiguous tensors
        nn.Module.to(network, memory_format=torch.contiguous_format)
        run()  # what fails in every format fails here
        return f'{type(network).__name__} does not run in channels_last: {error}'
    return None


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
