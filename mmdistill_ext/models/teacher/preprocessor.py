"""One batch, normalised once for the student and once for a teacher that wants it otherwise."""
import copy
import random
from typing import Any, List, Optional, Union

import numpy as np
import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from ...errors import ConfigError

# What the data preprocessors of mmengine, mmpretrain, mmdet and mmseg call their settings. mmseg's
# `size` and `size_divisor` are not among them: they are the crop that the data set is trained with,
# and that is the student's.
SETTINGS = ('mean', 'std', '_enable_normalize', '_channel_conversion', 'channel_conversion',
            'to_rgb', 'pad_size_divisor', 'pad_value', 'pad_val')
# They normalise, then pad to the right and below.
KNOWN = ('mmengine.ImgDataPreprocessor', 'mmpretrain.ClsDataPreprocessor',
         'mmdet.DetDataPreprocessor', 'mmseg.SegDataPreProcessor')


def _settings(preprocessor: nn.Module) -> dict:
    return {name: getattr(preprocessor, name) for name in SETTINGS if hasattr(preprocessor, name)}


def _equal(a, b) -> bool:
    return torch.equal(a, b) if torch.is_tensor(a) and torch.is_tensor(b) else a is b or a == b


def preprocessor_for(student: nn.Module, teacher: Optional[nn.Module]) -> nn.Module:
    """The student's preprocessor, or one that serves both where the teacher's settings differ.

    A teacher whose config states no normalisation takes the student's batch as it is.
    """
    if teacher is None or not getattr(teacher, '_enable_normalize', False):
        return student
    wanted, own = _settings(teacher), _settings(student)
    if wanted.keys() == own.keys() and all(_equal(wanted[name], own[name]) for name in own):
        return student
    if type(teacher) is not type(student):
        raise ConfigError(
            f"the teacher's data_preprocessor is a {type(teacher).__name__}, the student's a "
            f'{type(student).__name__}: one batch cannot serve both; give both the same type')
    return TwoPreprocessors(student, wanted)


class TwoPreprocessors(BaseDataPreprocessor):
    """Adds ``teacher_inputs`` to a training batch.

    Where only mean and std differ they are computed from the student's batch.

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
            self.register_buffer('scale', student.std / wanted['std'], persistent=False)
            self.register_buffer('shift', (student.mean - wanted['mean']) / wanted['std'],
                                 persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Preprocess for the student and, in training, for the teacher."""
        if not training:
            return self.student(data, False)
        if self.renormalises:
            own = self.student(data, True)
            return dict(own, teacher_inputs=self.renormalised(own['inputs'], data['inputs']))
        random_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
        # Preprocessors write into the data samples: the student's copy is the one that counts.
        augments = getattr(self.student, 'batch_augments', None)
        samples = (copy.deepcopy if augments else _with_own_fields)(data.get('data_samples'))
        teacher_data = self.teacher(dict(data, data_samples=samples), True)
        random.setstate(random_state[0])
        np.random.set_state(random_state[1])
        torch.set_rng_state(random_state[2])
        return dict(self.student(data, True), teacher_inputs=teacher_data['inputs'])

    def renormalised(self, batch: Tensor, images: Union[Tensor, List[Tensor]]) -> Tensor:
        """The student's batch with the teacher's mean and std.

        Args:
            batch (Tensor): ``[N, 3, H, W]``, normalised and padded for the student.
            images (Tensor | list[Tensor]): What it was made of, ``[3, h, w]`` each.
        """
        inputs = torch.addcmul(self.shift, batch, self.scale)
        padding = getattr(self.student, 'pad_value', getattr(self.student, 'pad_val', 0))
        for whole, image in zip(inputs, images):
            height, width = image.shape[-2:]
            if (height, width) != tuple(whole.shape[-2:]):
                whole[:, height:] = padding
                whole[:, :, width:] = padding
        return inputs


def _only_normalises_otherwise(student: nn.Module, wanted: dict) -> bool:
    own, kind = _settings(student), type(student)
    return (f'{kind.__module__.split(".")[0]}.{kind.__name__}' in KNOWN
            and not getattr(student, 'batch_augments', None) and own.keys() == wanted.keys()
            and all(name in ('mean', 'std') or _equal(own[name], wanted[name]) for name in own))


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
