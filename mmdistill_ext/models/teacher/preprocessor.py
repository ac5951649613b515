"""One batch, normalised once for the student and once for a teacher that wants it otherwise."""
import copy
import logging
import random
from typing import Any, List, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.model import BaseDataPreprocessor
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from ...errors import ConfigError

# What the data preprocessors of mmengine, mmpretrain, mmdet and mmseg call their settings. mmseg's
# `size` and `size_divisor` are not among them: they are the crop that the data set is trained with,
# and that is the student's.
CHANNEL_ORDER = ('_channel_conversion', 'channel_conversion', 'to_rgb')
PADDING = ('pad_value', 'pad_val')
SETTINGS = ('mean', 'std', '_enable_normalize', *CHANNEL_ORDER, 'pad_size_divisor', *PADDING)
# They normalise, then pad to the right and below.
KNOWN = ('mmengine.ImgDataPreprocessor', 'mmpretrain.ClsDataPreprocessor',
         'mmdet.DetDataPreprocessor', 'mmseg.SegDataPreProcessor')


def _settings(preprocessor: nn.Module) -> dict:
    return {name: getattr(preprocessor, name) for name in SETTINGS if hasattr(preprocessor, name)}


def _equal(a, b) -> bool:
    return torch.equal(a, b) if torch.is_tensor(a) and torch.is_tensor(b) else a is b or a == b


def say_if_raw(student: nn.Module) -> None:
    """Warn where a classifier's images stay as they were loaded: it was likely forgotten.

    mmpretrain's configs state the normalisation beside the model, and the model goes without.
    """
    kind = type(student).__name__
    if kind == 'ClsDataPreprocessor' and not student._enable_normalize:
        print_log(f"the student's data_preprocessor ({kind}) states no mean and std: images go in "
                  'as they are loaded, 0 to 255, unless the pipeline normalises them; '
                  "mmpretrain's configs state it beside the model, expected in architecture and "
                  'teacher: data_preprocessor=_base_.data_preprocessor', logger='current',
                  level=logging.WARNING)


def preprocessor_for(student: nn.Module, teacher: Optional[nn.Module]) -> nn.Module:
    """The student's preprocessor, or one that serves both where the teacher's settings differ.

    A teacher whose config states no normalisation takes the student's batch as it is, where both
    preprocessors are of one type.
    """
    if teacher is None or not hasattr(teacher, '_enable_normalize'):
        return student
    one_type = type(teacher) is type(student)
    if not teacher._enable_normalize:
        if not one_type and hasattr(student, '_enable_normalize'):
            raise ConfigError(
                f"the teacher's data_preprocessor ({type(teacher).__name__}) states no mean and "
                "std; expected data_preprocessor=dict(mean=..., std=..., to_rgb=...) in the "
                "teacher's config (mmpretrain's configs state it beside the model)")
        return student
    wanted, own = _settings(teacher), _settings(student)
    if not one_type:
        wanted = _under_own_names(student, teacher)
    if wanted.keys() == own.keys() and all(_equal(wanted[name], own[name]) for name in own):
        return student
    return TwoPreprocessors(student, wanted)


def _under_own_names(student: nn.Module, teacher: nn.Module) -> dict:
    """The teacher's settings as the student's type calls them.

    The divisor of the padded size stays the student's: both see one batch.
    """
    own, theirs = _settings(student), _settings(teacher)
    names = [(_first(group, own), _first(group, theirs)) for group in (CHANNEL_ORDER, PADDING)]
    if '_enable_normalize' not in own or any(None in pair for pair in names):
        raise ConfigError(
            f"the teacher's data_preprocessor is a {type(teacher).__name__}, the student's a "
            f'{type(student).__name__}: one batch cannot serve both; expected one type, or two of '
            f'{", ".join(name.split(".")[1] for name in KNOWN)}')
    own.update({name: theirs[name] for name in ('mean', 'std', '_enable_normalize')})
    own.update({name: theirs[other] for name, other in names})
    return own


def _first(names: Sequence[str], settings: dict) -> Optional[str]:
    return next((name for name in names if name in settings), None)


class TwoPreprocessors(BaseDataPreprocessor):
    """Adds ``teacher_inputs`` to a training batch.

    Where only mean, std, the order of the channels and the padding differ, they are computed from
    the student's batch.

    Args:
        student (nn.Module): The student's data preprocessor; evaluation uses it alone.
        wanted (dict): The teacher's settings. The rest, random batch augmentation included, is
            the student's, so that both networks see the same images.
    """

    def __init__(self, student: nn.Module, wanted: dict) -> None:
        super().__init__()
        self.student = student
        self.teacher = copy.deepcopy(student)
        for name in ('mean', 'std'):
            self.teacher._buffers.pop(name, None)
        for name, value in wanted.items():
            if torch.is_tensor(value):
                self.teacher.register_buffer(name, value.clone(), persistent=False)
            else:
                setattr(self.teacher, name, value)
        self.renormalises = _only_normalises_otherwise(student, wanted)
        if self.renormalises:
            flips = any(getattr(student, name) != wanted[name]
                        for name in CHANNEL_ORDER if name in wanted)
            self.padding = next(wanted[name] for name in PADDING if name in wanted)
            mean, std = (value.flip(0) if flips else value
                         for value in (student.mean, student.std))
            shift = (mean - wanted['mean']) / wanted['std']
            # Of each channel; on the host, so that no operator waits for them.
            self.step = -1 if flips else 1
            self.scales = (std / wanted['std']).flatten().tolist()
            self.shifts = list(shift.flatten().cpu())

    @property
    def batch_augments(self) -> Any:
        """The student's; mmpretrain's SwitchRecipeHook sets it."""
        return getattr(self.student, 'batch_augments', None)

    @batch_augments.setter
    def batch_augments(self, augments: Any) -> None:
        self.student.batch_augments = self.teacher.batch_augments = augments

    def forward(self, data: dict, training: bool = False) -> dict:
        """Preprocess for the student and, in training, for the teacher."""
        if not training:
            return self.student(data, False)
        if self.renormalises and not self.batch_augments:
            own = self.student(data, True)
            return dict(own, teacher_inputs=self.renormalised(own['inputs'], data['inputs']))
        random_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
        # Preprocessors write into the data samples: the student's copy is the one that counts.
        copied = copy.deepcopy if self.batch_augments else _with_own_fields
        teacher_data = self.teacher(dict(data, data_samples=copied(data.get('data_samples'))), True)
        random.setstate(random_state[0])
        np.random.set_state(random_state[1])
        torch.set_rng_state(random_state[2])
        return dict(self.student(data, True), teacher_inputs=teacher_data['inputs'])

    def renormalised(self, batch: Tensor, images: Union[Tensor, List[Tensor]]) -> Tensor:
        """The student's batch with the teacher's mean, std, channel order and padding.

        Args:
            batch (Tensor): ``[N, 3, H, W]``, normalised and padded for the student.
            images (Tensor | list[Tensor]): What it was made of, ``[3, h, w]`` each.
        """
        inputs = torch.empty_like(batch)
        channels = range(batch.shape[1])
        for own, theirs in zip(channels[::self.step], channels):
            i = theirs if len(self.scales) > 1 else 0  # one value for all channels
            torch.add(self.shifts[i], batch[:, own], alpha=self.scales[i], out=inputs[:, theirs])
        for whole, image in zip(inputs, images):
            height, width = image.shape[-2:]
            if (height, width) != tuple(whole.shape[-2:]):
                whole[:, height:] = self.padding
                whole[:, :, width:] = self.padding
        return inputs


def _only_normalises_otherwise(student: nn.Module, wanted: dict) -> bool:
    own, kind = _settings(student), type(student)
    may_differ = ['mean', 'std', *PADDING]
    if getattr(student, 'mean', None) is not None and len(student.mean) == 3:
        may_differ += CHANNEL_ORDER
    return (f'{kind.__module__.split(".")[0]}.{kind.__name__}' in KNOWN
            and own.keys() == wanted.keys()
            and all(name in may_differ or _equal(own[name], wanted[name]) for name in own))


def _with_own_fields(samples: Any) -> Any:
    """Data samples whose fields can be set without a trace; what they hold is not copied."""
    if isinstance(samples, (list, tuple)):
        return [_with_own_fields(sample) for sample in samples]
    if not isinstance(samples, BaseDataElement):
        return copy.deepcopy(samples)
    own = samples.new()
    for key, value in own.items():
        if isinstance(value, BaseDataElement):
            own.set_data({key: _with_own_fields(value)})
    return own
