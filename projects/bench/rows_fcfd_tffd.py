"""The bench's rows of Tf-FD and FCFD."""
from functools import partial
from itertools import combinations
from typing import Callable, Dict

import torch

from .rows_mlp import TASKS, Row, build, training


def tffd_rows(batch: dict) -> Dict[str, Callable[[], Row]]:
    """Tf-FD on ResNet-18: the plain student and the student that teaches itself."""
    student = TASKS['cls']().student

    def tffd(first: int = 2, **form) -> Row:
        stages = [f'backbone.layer{stage}' for stage in range(first, 5)]
        links = dict(
            loss_intra=dict(student=stages,
                            loss=dict(type='TfFDIntraLoss', loss_weight=8e-4, **form)),
            loss_inter=dict(student=stages,
                            loss=dict(type='TfFDInterLoss', loss_weight=5e-4, **form)))
        return training(build(dict(type='TeacherFreeDistill', architecture=student,
                                   distiller=dict(type='LinkDistiller', links=links))), batch)
    return {'student': lambda: training(build(student), batch),
            'Tf-FD': tffd,
            'Tf-FD, 4 stages': partial(tffd, 1),
            'Tf-FD, 4 stages, released': partial(tffd, 1, form='released')}


def fcfd_rows(batch: dict) -> Dict[str, Callable[[], Row]]:
    """FCFD on the pair of the paper's Table 11, resnet32x4 -> resnet8x4, by number of paths."""

    def network(depth: str) -> dict:
        return dict(
            _scope_='mmpretrain', type='ImageClassifier',
            backbone=dict(type='CIFARResNet', depth=depth),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=100, in_channels=256,
                      loss=dict(type='CrossEntropyLoss')))

    def fcfd(paths: int, **fields) -> Row:
        model = build(dict(type='FCFDDistill', architecture=network('8x4'),
                           teacher=network('32x4'), random_teacher=True, paths=dict(num=paths),
                           **fields))
        cases = [partial(setattr, model.sampler, 'sample', lambda *_, sampled=sampled: sampled)
                 for sampled in combinations(model.sampler.candidates, paths)]
        return training(model, batch, cases=cases)

    def teacher_forward() -> Row:
        model = build(network('32x4')).requires_grad_(False).to(batch['inputs'].device)

        def forward():
            with torch.no_grad():
                model(batch['inputs'])
        return Row(model, forward)
    return {'student': lambda: training(build(network('8x4')), batch),
            'teacher forward': teacher_forward,
            **{f'FCFD, {paths} paths': partial(fcfd, paths) for paths in (0, 1, 2, 4)},
            'FCFD, 4 paths, student channels_last': partial(fcfd, 4, student_channels_last=True)}


OTHERS = dict(
    tffd=(dict(cpu=(8, 3, 224, 224), cuda=(32, 3, 224, 224)), tffd_rows),
    fcfd=(dict.fromkeys(('cpu', 'cuda'), (64, 3, 32, 32)), fcfd_rows))
