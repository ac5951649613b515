"""The study's segmentation and detection rows."""
from typing import Any, Dict

from mmdistill_ext.datasets import SceneSettings

from .data import Scenes
from .rows import (
    TRANSFORMS,
    Row,
    Task,
    decay,
    epochs,
    feature,
    longer,
    mgd,
    options,
    teacher_free,
    thirds,
    transform,
)

SCENES = Scenes('scenes', SceneSettings(
    train=1600, val=400, tune=200, size=64, min_digits=1, max_digits=3, min_size=20, max_size=36,
    clutter=3.))
TWICE, FOUR_TIMES = epochs(12), epochs(24)
# Segmentation is linked where the pixels are classified from: both networks have 24 channels.
PIXELS, STAGES = 'decode_head.bottleneck', ('backbone.layer1', 'backbone.layer2', 'backbone.layer3')


def cwd(weight: float) -> Dict[str, Any]:
    """MMRazor's CWD of the class maps, its temperature 4."""
    return dict(model=feature('decode_head.conv_seg', None, dict(
        type='ChannelWiseDivergence', tau=4, loss_weight=weight)))


def pkd(weight: float) -> Dict[str, Any]:
    """MMRazor's PKD of every level of the neck."""
    return dict(model=feature('neck', None, dict(type='PKDLoss', loss_weight=weight)))


def seg_fcfd(weight: float) -> Dict[str, Any]:
    return dict(model=dict(
        type='FCFDSeg', loss_app=dict(type='FeatureMSELoss', loss_weight=weight)))


def det_fcfd(weight: float) -> Dict[str, Any]:
    return dict(model=dict(
        type='FCFDDense', loss_app=dict(type='FeatureMSELoss', loss_weight=weight)))


ALPHA, FACTOR = thirds(1e-3), thirds(.03)
SEG_STUDENT = Row('student alone, PSPNet, width 8', decay, thirds(1e-2))
DET_STUDENT = Row('student alone, RetinaNet, width 8', decay, thirds(1e-2))
SEG = Task(
    'Segmentation', 'mIoU', 'mIoU', 1, SCENES,
    teachers=dict(teacher=Row('teacher, PSPNet, width 20', options(**FOUR_TIMES))),
    rows=dict(
        student=SEG_STUDENT,
        mlp=Row('channel MLP', transform(PIXELS, 'MLPConnector'), ALPHA, 'teacher', '+3.6'),
        identity=Row('L2 without transform', transform(PIXELS, 'IdentityConnector'), ALPHA,
                     'teacher', '-23.7'),
        linear=Row('linear transform', transform(PIXELS, 'LinearConnector'), ALPHA, 'teacher',
                   '+1.5'),
        fcfd=Row('FCFD', seg_fcfd, thirds(1.), 'teacher'),
        cwd=Row('CWD (MMRazor)', cwd, thirds(1.), 'teacher', '+3.7'),
        mgd=Row('MGD (MMRazor)', mgd(PIXELS), ALPHA, 'teacher', '+3.8'),
        tffd=Row('Tf-FD', teacher_free(STAGES), FACTOR),
        student_2x=longer('student', SEG_STUDENT, 'twice as long', 'student', **TWICE)),
    pairs=TRANSFORMS)
DET = Task(
    'Detection', 'coco/bbox_mAP', 'mAP', 100, SCENES,
    teachers=dict(teacher=Row('teacher, RetinaNet, width 20', options(**FOUR_TIMES))),
    rows=dict(
        student=DET_STUDENT,
        mlp=Row('channel MLP', transform('neck', 'MLPConnector'), ALPHA, 'teacher', '+3.0'),
        identity=Row('L2 without transform', transform('neck', 'IdentityConnector'), ALPHA,
                     'teacher', '+2.3'),
        linear=Row('linear transform', transform('neck', 'LinearConnector'), ALPHA, 'teacher',
                   '+2.8'),
        fcfd=Row('FCFD', det_fcfd, thirds(1.), 'teacher'),
        pkd=Row('PKD (MMRazor)', pkd, thirds(3.), 'teacher', '+3.4'),
        mgd=Row('MGD (MMRazor)', mgd('neck'), ALPHA, 'teacher', '+3.2'),
        tffd=Row('Tf-FD', teacher_free(STAGES), FACTOR, None, '+0.99'),
        student_2x=longer('student', DET_STUDENT, 'twice as long', 'student', **TWICE)),
    pairs=TRANSFORMS)
