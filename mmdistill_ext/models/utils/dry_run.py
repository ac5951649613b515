"""One forward on a tiny input, to learn shapes and to find tensors that get overwritten."""
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Iterable, List

import torch
from mmengine.structures import BaseDataElement, InstanceData
from mmrazor.models.task_modules import RecorderManager
from mmrazor.models.task_modules.recorder import ModuleInputsRecorder, ModuleOutputsRecorder
from torch import Tensor, nn

from ...errors import ConfigError, nearest

# Pixels. At 128 the coarsest of the usual FPN levels (stride 128) still has one; the others are for
# networks that take one size only, or none below it (VGG's classifier, Swin's window).
SIZES = (128, 224, 256, 384)


class Outputs(dict):
    """For each place the outputs of its calls, in order.

    Attributes:
        size (int): Height and width of the images that gave them.
    """
    size = SIZES[0]


def get_module(model: nn.Module, name: str, what: str) -> nn.Module:
    """The submodule called ``name``; a wrong name is an error with the nearest ones.

    Args:
        model (nn.Module): Where to look.
        name (str): A name as in ``model.named_modules()``.
        what (str): Who asks, for the message.
    """
    modules = dict(model.named_modules())
    if not isinstance(name, str) or not name or name not in modules:
        raise ConfigError(f'{what}: {type(model).__name__} has no module {name!r}; '
                          f'{nearest(str(name), filter(None, modules))}')
    return modules[name]


def tensors_of(output) -> List[Tensor]:
    """The tensors of a module's output in order: one for a tensor, several for a tuple."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, dict):
        output = output.values()
    if isinstance(output, Iterable) and not isinstance(output, str):  # whose items are strings
        return [tensor for item in output for tensor in tensors_of(item)]
    return []


def recorded_places(recorders: RecorderManager) -> List[str]:
    """The modules that MMRazor's recorders are attached to."""
    return [recorder.source for recorder in recorders.recorders.values()
            if isinstance(recorder, (ModuleInputsRecorder, ModuleOutputsRecorder))]


@contextmanager
def untouched(model: nn.Module):
    """Evaluation mode, no gradient; afterwards modes, buffers and random state are as before."""
    modes = [(module, module.training) for module in model.modules()]
    # Some modules give a buffer another size (EVA-02's position tables), or write into it.
    buffers = [(module, dict(module._buffers)) for module in model.modules()]
    values = {buffer: buffer.clone() for _, named in buffers for buffer in named.values()
              if buffer is not None}
    devices = {p.device.index for p in model.parameters() if p.is_cuda}
    try:
        model.eval()
        with torch.random.fork_rng(sorted(devices)), torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for module, named in buffers:
            module._buffers.clear()
            module._buffers.update(named)
        for buffer, value in values.items():
            if not torch.equal(buffer, value):
                buffer.copy_(value)


def tiny_batch(model: nn.Module, size: int):
    """Two tiny images for ``model``, in its dtype, and data samples for detectors and losses."""
    like = next(model.parameters())
    channels = next((p.shape[1] for p in model.parameters() if p.ndim == 4), 3)  # the first conv's
    if any(type(module).__name__ == 'Focus' for module in model.modules()):
        channels //= 4  # YOLOX puts four pixels side by side before it
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, channels, size, size, generator=generator).to(like)
    shape = (size, size)
    samples = []
    for _ in inputs:
        sample = BaseDataElement(metainfo=dict(
            img_shape=shape, ori_shape=shape, pad_shape=shape, batch_input_shape=shape,
            scale_factor=(1., 1.)))
        sample.gt_instances = InstanceData(
            bboxes=like.new_zeros(0, 4, dtype=torch.float), labels=torch.zeros(0).long())
        sample.gt_label = torch.zeros(1).long()
        samples.append(sample)
    return inputs, samples


def sizes_of(model: nn.Module, smallest: int) -> List[int]:
    """The sizes to try: the usual ones, and the one that a transformer was built for."""
    fixed = getattr(getattr(model, 'backbone', None), 'img_size', SIZES[0])
    fixed = fixed if isinstance(fixed, int) else max(fixed)
    return sorted(size for size in {*SIZES, smallest, fixed} if size >= smallest)


def dry_run(model: nn.Module, places: Iterable[str], what: str,
            smallest: int = SIZES[0], in_loss: bool = False) -> Outputs:
    """Run ``model`` once and return what the modules named in ``places`` gave.

    Only as far as needed: backbone and neck where that reaches all places, else the whole
    forward. Layers that would overwrite one of the outputs afterwards (``ReLU(inplace=True)``) are
    set to ``inplace=False``, no others; an output that the model overwrites otherwise is an error.

    Args:
        model (nn.Module): A model of mmengine's kind.
        places (Iterable[str]): Module names.
        what (str): Who asks, for messages.
        smallest (int): The first size to try.
        in_loss (bool): Whether a module that runs in the model's loss only will do. Defaults to
            False.
    """
    places = list(places)
    for place in places:
        get_module(model, place, what)
    sizes = sizes_of(model, smallest)
    for size in sizes:
        try:
            return _run(model, places, what, size, in_loss)
        except ConfigError:
            raise
        except Exception as error:
            reason, last = (str(error) or type(error).__name__).splitlines()[0], error
    raise ConfigError(f'{what}: {type(model).__name__} does not run on images of '
                      f'{", ".join(map(str, sizes))} pixels: {reason}') from last


def _run(model: nn.Module, places: List[str], what: str, size: int, in_loss: bool) -> Outputs:
    outputs = Outputs({place: [] for place in places})
    outputs.size = size
    recorded = []  # (place, tensor, its version then)
    overwriting = set()  # modules with inplace=True that receive one of them
    with ExitStack() as hooks, untouched(model):

        def record(place):

            def hook(_, __, output):
                outputs[place].append(output)
                recorded.extend((place, tensor, tensor._version) for tensor in tensors_of(output))

            return hook

        def watch(module, inputs):
            storages = {tensor.untyped_storage().data_ptr() for _, tensor, _ in recorded}
            if any(tensor.untyped_storage().data_ptr() in storages
                   for tensor in tensors_of(inputs)):
                overwriting.add(module)

        for place in places:
            handle = get_module(model, place, what).register_forward_hook(record(place))
            hooks.callback(handle.remove)
        for module in model.modules():
            if getattr(module, 'inplace', False) is True:
                hooks.callback(module.register_forward_pre_hook(watch).remove)

        inputs, samples = tiny_batch(model, size)
        if hasattr(model, 'extract_feat'):
            model.extract_feat(inputs)
        for mode in ('tensor', 'loss') if in_loss else ('tensor', ):
            if not all(outputs.values()):
                for records in outputs.values():
                    records.clear()
                recorded.clear()
                # What the loss does to labels that are made up says nothing about the model.
                with nullcontext() if mode == 'tensor' else suppress(Exception):
                    model(inputs, samples, mode=mode)

    for place, records in outputs.items():
        if not records:
            raise ConfigError(f'{what}: the module {place!r} exists but never runs when '
                              f'{type(model).__name__} is called; name one that does, such as one '
                              'of its children')
    changed = [place for place, tensor, version in recorded if tensor._version != version]
    for module in overwriting:
        module.inplace = False
    if changed and overwriting:
        return _run(model, places, what, size, in_loss)  # is it the last one that overwrites?
    if changed:
        raise ConfigError(f'{what}: {type(model).__name__} overwrites the output of {changed[0]!r} '
                          'after it is computed (as in `out += identity`); name the module that '
                          'contains it')
    return outputs
