"""Getting a teacher ready: strict loading, and what makes its forward cheap."""
import re
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import torch
from mmengine.hub import get_config
from mmengine.model import BaseModel
from mmrazor.registry import MODELS
from torch import Tensor, nn

from ...checkpoints.keys import Difference, misshapen_name
from ...checkpoints.load import load
from ...errors import ConfigError

DTYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}
MISSHAPEN = re.compile(r'size mismatch for (\S+): .*?\[([\d, ]*)\].*\[([\d, ]*)\]\)\.')


def read_checkpoint(path: str) -> Tuple[Dict[str, Tensor], Optional[Sequence[str]]]:
    """The weights of a model in a checkpoint, without the prefix of a wrapper around it.

    Args:
        path (str): A file or an address that mmengine can load from.

    Returns:
        tuple: The weights, of a distilled checkpoint the student's alone; and the names of the
        classes it was trained on, None where it does not say.
    """
    try:
        checkpoint = load(path)
    except ConfigError:
        raise
    except Exception as error:  # whatever a file that is no checkpoint makes of the unpickler
        reason = str(error).splitlines()[0] if str(error) else 'the file ends too early'
        raise ConfigError(f'teacher_ckpt {path!r} cannot be loaded: {reason}') from error
    weights = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, dict) else None
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ConfigError(f'teacher_ckpt {path!r} holds no state_dict; give a checkpoint of '
                          'mmengine or a plain dict of tensors')
    for prefix in ('module.', 'architecture.'):
        inner = {key[len(prefix):]: value for key, value in weights.items()
                 if key.startswith(prefix)}
        weights = inner or weights
    return weights, _classes_of(checkpoint.get('meta'))


def _classes_of(meta: Any) -> Optional[Sequence[str]]:
    """What mmengine and the releases before it wrote down."""
    meta = meta if isinstance(meta, dict) else {}
    for place in (meta.get('dataset_meta') or {}, meta):
        for key in ('classes', 'CLASSES'):
            if isinstance(place.get(key), (list, tuple)):
                return place[key]
    return None


def _load_into(model: nn.Module, weights: Dict[str, Tensor]) -> List[List[str]]:
    """Load what fits; the missing and the unexpected keys, and what is said of misshapen ones.

    As mmengine does it, but every module sees all keys: the models' own hooks, which run here,
    rename the keys of older releases, resize position embeddings and drop what is recomputed.
    """
    versions = getattr(weights, '_metadata', {})
    wrong: List[List[str]] = [[], [], []]

    def load(module, prefix=''):
        module._load_from_state_dict(weights, prefix, versions.get(prefix[:-1], {}), True, *wrong)
        for name, child in module.named_children():
            load(child, f'{prefix}{name}.')

    load(model)
    return wrong


def is_headless(teacher: nn.Module) -> bool:
    """Whether its config states ``head=None``, as those of mmpretrain's feature extractors do."""
    return getattr(teacher, 'head', teacher) is None


def _is_left_out(teacher: nn.Module, key: str) -> bool:
    """Whether the teacher is meant to do without this weight of its checkpoint.

    Without a head, those of parts that are None too, and what stands for masked patches in
    pretraining: DINOv2's public checkpoints have that one, and mmpretrain's networks do not.
    """
    return is_headless(teacher) and (key.endswith('.mask_token') or
                                     getattr(teacher, key.split('.')[0], teacher) is None)


def load_strictly(teacher: nn.Module, path: str) -> None:
    """Load a checkpoint; missing, unexpected and misshapen keys are an error that lists them."""
    own = teacher.state_dict()
    _load_into(teacher, own)
    recomputed = {name for name, _ in teacher.named_buffers()} - own.keys()  # Swin V2 drops them
    weights, teacher.checkpoint_classes = read_checkpoint(path)
    missing, unexpected, misshapen = _load_into(teacher, weights)
    # Files of before PyTorch 0.4.1 do not count batches.
    missing = [key for key in missing
               if not key.endswith('num_batches_tracked') and key not in recomputed]
    unexpected = [key for key in dict.fromkeys(unexpected) if key in weights  # not renamed since
                  and not _is_left_out(teacher, key)]
    difference = Difference(missing, unexpected, list(map(_shapes_in, misshapen)))
    if difference.total:
        raise ConfigError(f'teacher_ckpt {path!r} does not fit the teacher '
                          f'({type(teacher).__name__}): {difference}; expected the config and the '
                          'checkpoint of one network')


def _shapes_in(text: str) -> str:
    """What PyTorch says of a tensor of another shape, in short."""
    match = MISSHAPEN.search(text)
    if not match:  # a model's own hook said it
        return text
    found, expected = ([int(size) for size in group.split(',') if size]
                       for group in match.groups()[1:])
    return misshapen_name(match[1], found, expected)


def build_teacher(teacher: Union[BaseModel, dict], checkpoint: Optional[str],
                  random_teacher: bool) -> BaseModel:
    """A teacher with the weights of its checkpoint, or with none where that is said.

    Args:
        teacher (BaseModel | dict): A teacher that is built and loaded, or the config of one.
        checkpoint (str, optional): Its checkpoint.
        random_teacher (bool): Whether a teacher without checkpoint is meant.
    """
    built = isinstance(teacher, BaseModel)
    if isinstance(teacher, dict):
        teacher = dict(teacher)
        if teacher.get('cfg_path') and teacher.pop('pretrained', False):
            # mmengine would load it, but not strictly.
            checkpoint = checkpoint or get_config(teacher['cfg_path'], pretrained=True).model_path
        teacher = MODELS.build(teacher)
    if not isinstance(teacher, BaseModel):
        raise ConfigError('teacher is the config of a model or a model of mmengine, found '
                          f'{type(teacher).__name__}')
    if checkpoint and random_teacher:
        raise ConfigError(f'random_teacher=True and teacher_ckpt={checkpoint!r} contradict each '
                          'other: leave one out')
    if checkpoint:
        load_strictly(teacher, checkpoint)
    elif not (built or random_teacher):
        raise ConfigError('teacher_ckpt is missing: a teacher with random weights teaches nothing; '
                          'name its checkpoint, or set random_teacher=True if that is meant')
    if random_teacher and not (built or awaits_weights(teacher)):
        _init_quietly(teacher)  # now: when the runner does so, its BatchNorm may be fused
    elif not random_teacher:
        teacher.is_init = True  # or the runner's init_weights would overwrite what is loaded
    return teacher


def _init_quietly(teacher: BaseModel) -> None:
    """Without mmengine's line for each weight, which is of use for the student only."""
    teacher._dump_init_info = lambda *_: None
    try:
        teacher.init_weights()
    finally:
        del teacher._dump_init_info


def awaits_weights(teacher: BaseModel) -> bool:
    """Whether ``init_weights`` will load a checkpoint into a part of the teacher."""
    return not teacher.is_init and any('Pretrained' in str(getattr(module, 'init_cfg', None))
                                       for module in teacher.modules())


def in_format(inputs: Any, teacher: nn.Module, channels_last: bool) -> Any:
    """The batch in the precision and memory format that the teacher runs in.

    Args:
        inputs (Tensor | list[Tensor]): ``[N, C, H, W]``; of self-supervised models one a view.
            Tokens have no memory format.
        teacher (nn.Module): In the precision that it runs in.
        channels_last (bool): Whether it runs in channels_last.
    """
    if isinstance(inputs, (list, tuple)):
        return type(inputs)(in_format(view, teacher, channels_last) for view in inputs)
    dtype = next(teacher.parameters()).dtype
    if dtype != torch.float32 or inputs.dtype not in DTYPES.values():  # else autocast sees to it
        inputs = inputs.to(dtype)
    return inputs.contiguous(memory_format=torch.channels_last) \
        if channels_last and inputs.ndim == 4 else inputs
