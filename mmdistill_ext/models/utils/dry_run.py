"""One forward on a tiny input, to learn shapes and to find tensors that get overwritten."""
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Dict, Iterable, Iterator, List

import torch
from mmengine.structures import BaseDataElement, InstanceData
from mmrazor.models.task_modules import RecorderManager
from mmrazor.models.task_modules.recorder import ModuleInputsRecorder, ModuleOutputsRecorder
from torch import Tensor, nn

from ...errors import ConfigError, nearest

# Pixels. At 128 the coarsest of the usual FPN levels (stride 128) still has one; the others are for
# networks that take one size only, none below it, or none above (VGG's classifier, Swin's window,
# LeNet).
FIRST, SIZES = 128, (32, 64, 128, 224, 256, 384)


class Outputs(dict):
    """For each place the outputs of its calls, in order.

    Attributes:
        size (int): Height and width of the images that gave them.
    """
    size = FIRST


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
    if isinstance(output, Iterable):
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


def channels_of(model: nn.Module) -> List[int]:
    """The numbers of channels that images may have, the likeliest first.

    What the data preprocessor says counts more than the first weight, which may belong to slices of
    an image (YOLOX's Focus) or be a table of positions.
    """
    mean = getattr(getattr(model, 'data_preprocessor', None), 'mean', None)
    said = [mean.numel()] if isinstance(mean, Tensor) else []
    first = [p.shape[1] for p in model.parameters() if p.ndim == 4][:1]
    return list(dict.fromkeys([*said, 3, *first]))


def sizes_of(model: nn.Module, first: int = FIRST) -> List[int]:
    """The sizes to try: from ``first`` up, then below, with the one a transformer is built for."""
    backbone = getattr(model, 'backbone', None)
    parts = [] if backbone is None else [backbone, *backbone.children()]
    fixed = {max(size) if isinstance(size, (tuple, list)) else size for part in parts
             for size in (getattr(part, 'img_size', None), getattr(part, 'init_input_size', None))
             if size}
    return sorted({*SIZES, *fixed, first}, key=lambda size: (size < first, abs(size - first)))


def tiny_images(model: nn.Module, first: int = FIRST, images: int = 2) -> Iterator[Tensor]:
    """Batches to try a network on, in its dtype, the likeliest first.

    Args:
        model (nn.Module): The network.
        first (int): The size to try first. Defaults to 128.
        images (int): How many in a batch. Defaults to 2.
    """
    like = next(model.parameters())
    for channels in channels_of(model):
        for size in sizes_of(model, first):
            generator = torch.Generator().manual_seed(0)
            yield torch.randn(images, channels, size, size, generator=generator).to(like)


def samples_for(inputs: Tensor) -> List[BaseDataElement]:
    """Data samples for detectors and losses."""
    shape = tuple(inputs.shape[2:])
    samples = []
    for _ in inputs:
        sample = BaseDataElement(metainfo=dict(
            img_shape=shape, ori_shape=shape, pad_shape=shape, batch_input_shape=shape,
            scale_factor=(1., 1.)))
        sample.gt_instances = InstanceData(
            bboxes=inputs.new_zeros(0, 4, dtype=torch.float), labels=torch.zeros(0).long())
        sample.gt_label = torch.zeros(1).long()
        samples.append(sample)
    return samples


def dry_run(model: nn.Module, places: Iterable[str], what: str,
            first: int = FIRST, in_loss: bool = False) -> Outputs:
    """Run ``model`` once and return what the modules named in ``places`` gave.

    Only as far as needed: backbone and neck where that reaches all places, else the whole
    forward. Layers that would overwrite one of the outputs afterwards (``ReLU(inplace=True)``) are
    set to ``inplace=False``, no others; an output that the model overwrites otherwise is an error.

    Args:
        model (nn.Module): A model of mmengine's kind.
        places (Iterable[str]): Module names.
        what (str): Who asks, for messages.
        first (int): The size to try first.
        in_loss (bool): Whether a module that runs in the model's loss only will do. Defaults to
            False.
    """
    places = list(places)
    for place in places:
        get_module(model, place, what)
    reasons: Dict[int, str] = {}  # by channels
    largest = max(sizes_of(model, first))  # of which the least depends on the size
    for inputs in tiny_images(model, first):
        try:
            return _run(model, places, what, inputs, in_loss)
        except ConfigError:
            raise
        except Exception as error:
            last = error
            if inputs.shape[-1] == largest:
                reasons[inputs.shape[1]] = (str(error) or type(error).__name__).splitlines()[0]
    found = '; '.join(f'with {channels} channels {reason}' for channels, reason in reasons.items())
    raise ConfigError(f'{what}: {type(model).__name__} does not run on images of '
                      f'{", ".join(map(str, sizes_of(model, first)))} pixels: {found}') from last


def _run(model: nn.Module, places: List[str], what: str, inputs: Tensor, in_loss: bool) -> Outputs:
    outputs = Outputs({place: [] for place in places})
    outputs.size = inputs.shape[-1]
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

        samples = samples_for(inputs)
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
        return _run(model, places, what, inputs, in_loss)  # is it the last one that overwrites?
    if changed:
        raise ConfigError(f'{what}: {type(model).__name__} overwrites the output of {changed[0]!r} '
                          'after it is computed (as in `out += identity`); name the module that '
                          'contains it')
    return outputs
