"""Tries one family, in a process of its own: prints what it found as JSON, line by line.

    python -m projects.zoo.trial mmpretrain resnet
"""
import copy
import json
import sys
import time
from typing import Callable, Optional

import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModel

import mmdistill_ext  # noqa: F401
from mmdistill_ext.errors import ConfigError, NumbersError
from mmdistill_ext.models.utils.stages import default_stages

from .families import config_of, folder_of
from .methods import build_fcfd, build_link, build_tffd, fcfd_type, places_of
from .model import batch_for, build, load, sizes_of
from .step import WrongStep, distill_step, train_step


def outcome(attempt: Callable[[], object]) -> dict:
    """What became of an attempt: ``works``, ``refused``, ``wrong`` or ``traceback``."""
    try:
        attempt()
        return dict(outcome='works')
    except (ConfigError, NumbersError) as error:
        return dict(outcome='refused', reason=str(error))
    except WrongStep as error:
        return dict(outcome='wrong', reason=str(error))
    except Exception as error:  # what is looked for
        reason = (str(error) or 'no message').splitlines()[0][:200]
        return dict(outcome='traceback', reason=f'{type(error).__name__}: {reason}')


class Trial:
    """One family's model, and what becomes of each method on it.

    Args:
        library (str): One of ``LIBRARIES``.
        family (str): A folder of its configs.
    """

    def __init__(self, library: str, family: str) -> None:
        self.path = config_of(library, family)
        self.facts = dict(library=library, family=family,
                          config=str(self.path.relative_to(folder_of(library))))

    def run(self, tell: Callable[[dict], None]) -> None:
        """Try everything, and tell each outcome as soon as it is known."""
        tell(self.facts)
        start = time.time()
        plain = outcome(self.build)
        tell(dict(alone=plain))
        if plain['outcome'] != 'works':
            return
        tell(dict(parameters=sum(p.numel() for p in self.student.parameters()), pixels=self.size))
        tell(dict(link=self.link()))
        kind = fcfd_type(self.config, self.student)
        tell(dict(fcfd=dict(type=kind, **outcome(
            lambda: self.step(build_fcfd(self.a_student, self.a_teacher, kind))))))
        tell(dict(tffd=self.tffd()))
        tell(dict(seconds=round(time.time() - start)))

    def build(self) -> None:
        """Build the model twice, and find the image size on which it trains alone."""
        self.config = load(self.path)
        self.student, self.teacher = (build(self.config, seed) for seed in (0, 1))
        sizes = sizes_of(self.config, self.student)
        for size in sizes:
            self.size, self.batch = size, batch_for(self.config, self.student, size)
            try:
                torch.manual_seed(0)
                return train_step(self.a_student(), self.new_batch())
            except Exception:
                if size == sizes[-1]:
                    raise

    def a_student(self) -> BaseModel:
        return copy.deepcopy(self.student)

    def a_teacher(self) -> BaseModel:
        return copy.deepcopy(self.teacher)

    def new_batch(self) -> dict:
        return copy.deepcopy(self.batch)

    def step(self, algorithm: BaseModel) -> None:
        torch.manual_seed(0)
        distill_step(algorithm, self.new_batch())

    def link(self) -> dict:
        """The first place that works, and why the first one does not if it is another."""
        found = []
        for place in places_of(self.config, self.student):
            result = outcome(lambda: self.step(
                build_link(self.a_student, self.a_teacher, place)))  # noqa: B023
            found.append(dict(place=place, **result))
            if result['outcome'] == 'works':
                break
        if not found:
            return dict(outcome='refused', reason='no neck and no backbone')
        return found[-1] if found[-1]['outcome'] == 'works' else found[0]

    def tffd(self) -> Optional[dict]:
        """On the stages, else on what the backbone gives; None where it has no stages."""
        try:
            default_stages(self.student.backbone, 'Tf-FD')
        except ConfigError:
            return None
        found = []
        for stages in (None, ['backbone']):
            found.append(outcome(lambda: self.step(
                build_tffd(self.a_student, stages))))  # noqa: B023
            if found[-1]['outcome'] == 'works':
                return found[-1]
        return found[0]


if __name__ == '__main__':
    MMLogger.get_instance('zoo', log_level='ERROR')  # each weight's initialisation is logged
    Trial(*sys.argv[1:]).run(lambda found: print(json.dumps(found), flush=True))
