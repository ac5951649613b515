"""Networks in the channels_last memory format, where their operators take it."""
from contextlib import ExitStack
from typing import Callable, Iterable, Optional

import torch
import torch.distributed.fsdp
from mmengine.logging import print_log
from torch import Tensor, nn

from ...errors import ConfigError


def channels_last(network: nn.Module, wanted: Optional[bool], field: str,
                  dtype: Optional[str] = None, run: Callable = lambda: None,
                  whole: bool = True) -> bool:
    """Whether a network shall run in the channels_last memory format; it is left as it was.

    Args:
        network (nn.Module): The network.
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
    reason = _contiguous_only(network, run, whole) or _fails(network, run)
    if reason and wanted:
        raise ConfigError(f'{field}: {reason}; leave the field out')
    if reason:
        print_log(f'{field}=False: {reason}', logger='current')
        return False
    return True


def lay_out(network: nn.Module) -> None:
    """Put the weights of a network into the channels_last memory format."""
    # Not its own `to`: mmdet's LD takes a device only.
    nn.Module.to(network, memory_format=torch.channels_last)
    shield_narrow_convolutions(network)


def is_sharded(modules: Iterable[nn.Module]) -> bool:
    """Whether FSDP's ``fully_shard`` was called on one of the modules."""
    kind = getattr(torch.distributed.fsdp, 'FSDPModule', None)  # from PyTorch 2.6 on
    return kind is not None and any(isinstance(module, kind) for module in modules)


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


def _fails(network: nn.Module, run: Callable) -> Optional[str]:
    """Why a network does not run in channels_last; None if it does."""
    try:
        nn.Module.to(network, memory_format=torch.channels_last)
        run()
    except Exception as error:  # of any operator, or of a view that wants contiguous tensors
        reason = str(error)
    else:
        return None
    finally:
        nn.Module.to(network, memory_format=torch.contiguous_format)
    run()  # what fails in every format fails here
    return f'{type(network).__name__} does not run in channels_last: {reason}'


def student_in_channels_last(student: nn.Module, wanted: bool) -> None:
    """A student in channels_last, whose batches are put into it as they come in."""
    if channels_last(student, wanted, 'student_channels_last'):
        lay_out(student)
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
