"""Ends a forward as soon as everything that is read from it has been computed."""
from typing import List, Optional, Tuple

from mmrazor.models.distillers import ConfigurableDistiller
from mmrazor.models.task_modules.recorder import (
    ModuleInputsRecorder,
    ModuleOutputsRecorder,
    ParameterRecorder,
)
from mmrazor.models.task_modules.recorder.base_recorder import BaseRecorder
from torch import nn

from ..utils.dry_run import get_module

Reads = List[Tuple[BaseRecorder, int]]  # recorders, and how many records each must hold


class _ReadAll(Exception):
    """Raised inside a forward when the last feature is there."""


class EarlyStop:
    """Runs a model's forward, and ends it after the last feature that is read.

    Args:
        model (nn.Module): The model whose forward ends early.
        reads (list[tuple[BaseRecorder, int]]): Recorders of module outputs or inputs, attached to
            the model, and how many records each must hold.
    """

    def __init__(self, model: nn.Module, reads: Reads) -> None:
        self.reads = reads
        self.active = False
        for place in {recorder.source for recorder, _ in reads}:
            # Registered after the recorder's own hook, so it sees the record.
            get_module(model, place, 'early stop').register_forward_hook(self._after_module)

    def _after_module(self, *_) -> None:
        if self.active and all(len(recorder.data_buffer) >= count
                               for recorder, count in self.reads):
            raise _ReadAll

    def run(self, model: nn.Module, *args, **kwargs) -> None:
        """Call ``model``, as far as it is read."""
        self.active = True
        try:
            model(*args, **kwargs)
        except _ReadAll:
            pass
        finally:
            self.active = False


def run_whole(model: nn.Module, *args, **kwargs) -> None:
    """Call ``model``, to its end."""
    model(*args, **kwargs)


def reads_of(distiller: ConfigurableDistiller) -> Optional[Reads]:
    """What a distiller reads from the teacher, for ``EarlyStop``.

    None if it needs the whole forward: for a recorder of functions or methods, or a delivery.
    """
    recorders = distiller.teacher_recorders.recorders
    if distiller.deliveries.deliveries:
        return None
    used = [record for mapping in distiller.loss_forward_mappings.values()
            for record in mapping.values() if not record.get('from_student', True)]
    used += [level.teacher._asdict() for levels in getattr(distiller, 'levels', {}).values()
             for level in levels if level.teacher]
    reads: Reads = []
    for name, recorder in recorders.items():
        if isinstance(recorder, ParameterRecorder):
            continue
        if not isinstance(recorder, (ModuleOutputsRecorder, ModuleInputsRecorder)):
            return None
        calls = [record.get('record_idx', 0) for record in used if record['recorder'] == name]
        reads.append((recorder, max(calls, default=0) + 1))
    return reads
