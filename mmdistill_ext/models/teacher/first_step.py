"""What is done to a teacher in the first step, when DDP or FSDP have wrapped the model."""
from typing import TYPE_CHECKING

import torch
from mmengine.logging import print_log

from ...errors import ConfigError
from ..utils.memory_format import is_sharded, lay_out

if TYPE_CHECKING:
    from ..algorithms import LeanTeacherDistill


@torch.compiler.disable
def before_first_step(module: 'LeanTeacherDistill', _) -> None:
    """Put a frozen teacher into channels_last; not earlier: FSDP shards contiguous weights only."""
    if not module._is_new:
        return
    module._is_new = False
    sharded = is_sharded([module])
    networks = [*module.student.modules(), *module.teacher.modules()]
    if module.enters_networks and sharded and is_sharded(networks):
        raise ConfigError(
            f'{type(module).__name__} runs parts of both networks after their forward, when FSDP '
            'has taken their weights away again: call fully_shard on the algorithm alone')
    others = [p for name, p in module.named_parameters() if p.requires_grad
              and not name.startswith(('architecture.', 'teacher.'))]
    if others and not sharded and is_sharded(module.student.modules()):
        raise ConfigError(
            f'{type(module).__name__}: fully_shard was called on the student alone, so each rank '
            'would train connectors of its own: call it on the algorithm too')
    if not module.teacher_channels_last or module.teacher_trainable:
        return
    if sharded or is_sharded(module.teacher.modules()):
        module.teacher_channels_last = False
        print_log('teacher_channels_last=False: the teacher is sharded, and FSDP takes contiguous '
                  'weights only', logger='current')
    else:
        lay_out(module.teacher)
