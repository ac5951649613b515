"""The study's classification rows."""
from typing import Any, Dict

from mmengine.config import Config

from mmdistill_ext.datasets import SceneSettings

from .data import Scenes
from .rows import (
    CONFIGS,
    Changes,
    Row,
    Task,
    decay,
    epochs,
    longer,
    mgd,
    options,
    teacher_free,
    thirds,
    transform,
)

LAST = 'backbone.layer3'
STAGES = ('backbone.layer1', 'backbone.layer2', 'backbone.layer3')
KL = dict(type='KLDivergence', tau=4)
DKD = dict(type='DecoupledKLLoss', tau=4)
TWICE, FOUR_TIMES = epochs(12), epochs(24)


def fcfd(paths: Any = None, kl: Dict[str, Any] = KL, **keys: Any) -> Changes:
    """FCFD; the number is the weight of the MSE terms, which warm up in the first epoch."""
    return lambda weight: {
        'model': dict(
            type='FCFDDistill', paths=paths or dict(num=2), loss_kd=kl, loss_func_kl=kl,
            student_stages=list(STAGES), teacher_stages=list(STAGES),
            loss_mse=dict(type='FeatureMSELoss', loss_weight=weight)),
        'custom_hooks': [dict(
            type='mmrazor.LossWeightHook', loss='loss_mse', by_epoch=True,
            phases=[dict(begin=0, end=1, start=0., stop=1.)])],
        **keys}


def kd(weight: float) -> Dict[str, Any]:
    """MMRazor's KL of the logits."""
    return dict(model=dict(type='LeanTeacherDistill', distiller=dict(
        type='LinkDistiller', links=dict(loss_kd=dict(
            student='head.fc', teacher='head.fc', loss=dict(KL, loss_weight=weight))))))


def dkd(weight: float) -> Dict[str, Any]:
    """MMRazor's DKD in MMRazor's algorithm, as CIFAR-100's row has it."""
    distiller = Config.fromfile(CONFIGS / 'dkd.py').model.distiller
    distiller.distill_losses.loss_dkd.loss_weight = weight
    return dict(model=dict(type='SingleTeacherDistill', distiller=distiller))


def smoothing(share: float) -> Dict[str, Any]:
    return {'model.head.loss': dict(
        _delete_=True, type='LabelSmoothLoss', label_smooth_val=share, mode='original')}


ALPHA, MSE, KL_WEIGHT, FACTOR = thirds(9e-3), thirds(.6), thirds(1.), thirds(.1)
SIMKD: Dict[str, Any] = {
    'model.type': 'FCFDSimKD',
    'model.architecture.neck': [
        dict(type='SimKDProjector', in_channels=64, out_channels=128),
        dict(type='GlobalAveragePooling')],
    'model.architecture.head.in_channels': 128}

STUDENT = Row('student alone, WRN-10-1', decay, thirds(1e-2))
MLP = Row('channel MLP', transform(LAST, 'MLPConnector'), ALPHA, 'teacher', '+1.6')
FCFD = Row('FCFD, 2 paths', fcfd(), MSE, 'teacher', '+4.12')
TFFD = Row('Tf-FD', teacher_free(STAGES), FACTOR, None, '+1.56')
KD = Row('KD (MMRazor)', kd, KL_WEIGHT, 'teacher', '+0.78, +0.83')


def twice(name: str, row: Row) -> Row:
    return longer(name, row, 'twice as long', 'student_2x', **TWICE)


def ablation(title: str, **paths: Any) -> Row:
    """FCFD with the number that it has on two paths, as in the paper's ablation."""
    return Row(f'FCFD, {title}', fcfd(paths), teacher='teacher', like='fcfd')


CLS = Task(
    'Classification', 'accuracy/top1', 'accuracy', 1,
    Scenes('cls', SceneSettings(train=1200, val=1600, tune=800)),
    teachers=dict(
        teacher=Row('teacher, WRN-10-2', options(**FOUR_TIMES)),
        deep_teacher=Row('deep teacher, WRN-22-1', options(**FOUR_TIMES))),
    rows=dict(
        student=STUDENT,
        mlp=MLP,
        tffd=TFFD,
        fcfd=FCFD,
        kd=KD,
        student_2x=longer('student', STUDENT, 'twice as long', 'student', **TWICE),
        mlp_2x=twice('mlp', MLP),
        tffd_2x=twice('tffd', TFFD),
        fcfd_2x=twice('fcfd', FCFD),
        linear=Row('linear transform', transform(LAST, 'LinearConnector'), ALPHA, 'teacher',
                   '+1.1'),
        label_smoothing=Row('label smoothing', smoothing, (.03, .1, .2, .3), None, '+0.81'),
        tffd_logits=Row('Tf-FD with logits', teacher_free(STAGES, logits='head.fc'), FACTOR,
                        'teacher', '+2.50'),
        tffd_intra=Row('Tf-FD, intra-layer only', teacher_free(STAGES, inter=0.), FACTOR, None,
                       '+1.45'),
        tffd_inter=Row('Tf-FD, inter-layer only', teacher_free(STAGES, intra=0.), FACTOR, None,
                       '+1.25'),
        tffd_last=Row('Tf-FD, intra-layer in the last stage only',
                      teacher_free(STAGES[-1:], inter=0.), FACTOR, None, '+1.35'),
        tffd_at=Row('Tf-FD, AT distance (weights 1000)',
                    teacher_free(STAGES, 1e3, 1e3, distance='AT'), FACTOR),
        identity_deep=Row('L2 without transform, deep teacher',
                          transform(LAST, 'IdentityConnector'), ALPHA, 'deep_teacher', '+0.4'),
        mlp_deep=Row('channel MLP, deep teacher', transform(LAST, 'MLPConnector'), ALPHA,
                     'deep_teacher', '+1.6'),
        mgd=Row('MGD (MMRazor)', mgd(LAST), ALPHA, 'teacher', '+1.68'),
        dkd=Row('DKD (MMRazor)', dkd, KL_WEIGHT, 'teacher', '+1.47, +3.82'),
        fcfd_app=ablation('no path (KD and appearance)', num=0),
        fcfd_s2t=ablation('student to teacher only', num=2, directions='s2t'),
        fcfd_t2s=ablation('teacher to student only', num=2, directions='t2s'),
        fcfd_1=ablation('1 path', num=1),
        fcfd_4=ablation('all 4 paths', num='all'),
        fcfd_dkd=Row('FCFD with DKD', fcfd(kl=DKD), MSE, 'teacher'),
        fcfd_simkd=Row('FCFD with SimKD', fcfd(**SIMKD), MSE, 'teacher'),
        conv3x3=Row('conv 3x3 transform', transform(LAST, 'Conv3x3Connector'), ALPHA, 'teacher'),
        mlp_deeper=Row('MLP, 2 hidden layers', transform(LAST, 'MLPConnector', num_hidden=2),
                       ALPHA, 'teacher'),
        mlp_wider=Row('MLP, twice as wide', transform(LAST, 'MLPConnector', hidden_channels=256),
                      ALPHA, 'teacher'),
        non_local=Row('non-local transform', transform(LAST, 'NonLocalConnector'), ALPHA,
                      'teacher'),
        deformable=Row('deformable 3x3 transform', transform(LAST, 'DeformableConnector'), ALPHA,
                       'teacher'),
        student_4x=longer('student', STUDENT, 'four times as long', 'student_2x',
                          **FOUR_TIMES)),
    tune_seeds=(100, 101), seeds=5)

NARROW_STUDENT = Row('student alone, ResNet of width 4', decay, thirds(3e-3))
NARROW = Task(
    'Classification with a narrow student', CLS.metric, CLS.metric_name, CLS.scale, CLS.data,
    teachers=dict(teacher=Row('teacher, ResNet of width 16', options(
        **FOUR_TIMES, optim_wrapper__optimizer__weight_decay=3e-3))),
    rows=dict(
        student=NARROW_STUDENT,
        mlp=MLP,
        tffd=TFFD,
        student_2x=longer('student', NARROW_STUDENT, 'twice as long', 'student', **TWICE),
        mlp_2x=twice('mlp', MLP),
        kd=KD,
        fcfd=FCFD),
    tune_seeds=CLS.tune_seeds)
