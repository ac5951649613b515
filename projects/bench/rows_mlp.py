"""The networks and algorithms that the bench compares, in the sizes it states."""
import copy
from typing import Callable, Dict, NamedTuple, Optional, Sequence, Union

import torch
from mmengine.config import ConfigDict
from mmengine.hub import get_config
from mmengine.optim import OptimWrapper
from mmrazor.registry import MODELS
from torch import Tensor, nn

from mmdistill_ext.models.teacher.compiled import HOOKS_ARE_COMPILED

FAST = dict(teacher_dtype='bf16')
# By device: CUDA graphs start the teacher's kernels at once, on a GPU that waits for them.
COMPILED: Dict[str, Union[bool, dict]] = dict(cpu=True, cuda=dict(mode='reduce-overhead'))


class Task(NamedTuple):
    """A student, its teacher and the place where the recipe of the channel MLP reads.

    Args:
        student (dict): Config of the student.
        teacher (dict): Config of the teacher.
        place (str): The module read on both sides.
        alpha (float): The recipe's loss weight.
        shapes (dict[str, tuple[int]]): Of the batch, [N, C, H, W]: one that two cores manage, and
            the recipe's own for a GPU.
        stock (str): MMRazor's algorithm for the task.
    """
    student: dict
    teacher: dict
    place: str
    alpha: float
    shapes: Dict[str, tuple]
    stock: str


def _zoo(path: str) -> dict:
    """A network of a library, with no weights to wait for: ours would not fuse such a teacher."""
    network = get_config(path).model
    network['_scope_'] = path.split('::')[0]
    network.backbone.init_cfg = None
    network.pop('pretrained', None)
    return network


# Called where they are needed: the libraries' configs take a second to read.
TASKS: Dict[str, Callable[[], Task]] = dict(
    cls=lambda: Task(
        _zoo('mmpretrain::resnet/resnet18_8xb32_in1k.py'),
        _zoo('mmpretrain::resnet/resnet34_8xb32_in1k.py'),
        'backbone.layer4', 7e-5, dict(cpu=(16, 3, 160, 160), cuda=(32, 3, 224, 224)),
        'SingleTeacherDistill'),
    seg=lambda: Task(
        _zoo('mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'),
        _zoo('mmseg::pspnet/pspnet_r101-d8_4xb2-40k_cityscapes-512x1024.py'),
        'backbone.layer4', 2e-5, dict(cpu=(2, 3, 256, 256), cuda=(2, 3, 512, 512)),
        'SingleTeacherDistill'),
    det=lambda: Task(
        _zoo('mmdet::retinanet/retinanet_r50_fpn_2x_coco.py'),
        _zoo('mmdet::retinanet/retinanet_x101-64x4d_fpn_1x_coco.py'),
        'neck', 2e-5, dict(cpu=(2, 3, 320, 320), cuda=(2, 3, 800, 1344)), 'FpnTeacherDistill'))

# Of student and teacher where the recipes read, and on how many levels.
CHANNELS = dict(cls=(512, 512), seg=(512, 2048), det=(256, 256))
LEVELS = dict(cls=1, seg=1, det=5)


class Row:
    """One thing that is timed: a model, or a part of a step.

    Args:
        model (nn.Module): Whose state the step uses.
        forward (Callable): Returns the loss to go back from, or None for a forward alone.
        cases (Sequence[Callable]): Where steps differ at random: each makes the steps that follow
            one of the cases, all equally likely.
        given (Sequence[Tensor]): What a part of a step gets from the rest of it.
        distill_loss (Callable, optional): The sum of what distillation adds to the loss.
    """

    def __init__(self, model: nn.Module, forward: Callable[[], Optional[Tensor]],
                 cases: Sequence[Callable[[], object]] = (lambda: None, ),
                 given: Sequence[Tensor] = (),
                 distill_loss: Optional[Callable[[], float]] = None) -> None:
        self.model, self.forward, self.cases = model, forward, cases
        self.given, self.distill_loss = given, distill_loss
        self.amp = False
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = OptimWrapper(torch.optim.SGD(trained, lr=1e-6, momentum=.9)) \
            if trained else None

    def loss(self) -> Optional[Tensor]:
        """Forward, in the row's precision."""
        device = next(self.model.parameters()).device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.amp):
            return self.forward()

    def step(self) -> None:
        """Forward, and backward and update where there is a loss."""
        loss = self.loss()
        if loss is not None:
            assert self.optimizer is not None, 'a loss, and nothing to train'
            self.optimizer.update_params(loss)


def build(config: dict) -> nn.Module:
    """A model with random weights, in training mode."""
    torch.manual_seed(0)
    model = MODELS.build(ConfigDict(copy.deepcopy(config)))
    model.train()  # MMRazor's gives nothing back
    return model


def training(model: nn.Module, batch: dict, **kwargs) -> Row:
    """A row for a whole training step of a model of mmengine's kind."""
    model.to(batch['inputs'].device)

    @torch.no_grad()
    def distill_loss() -> float:
        losses = model(**batch, mode='loss')
        return float(sum(value for name, value in losses.items() if name.startswith('distill.')))
    return Row(model, lambda: model.parse_losses(model(**batch, mode='loss'))[0],
               distill_loss=distill_loss, **kwargs)


def lean(task: Task, **fields) -> dict:
    """Our recipe."""
    link = dict(student=task.place, teacher=task.place, connector='MLPConnector',
                loss=dict(type='FeatureL2Loss', loss_weight=task.alpha))
    return dict(type='LeanTeacherDistill', architecture=task.student, teacher=task.teacher,
                random_teacher=True, **fields,
                distiller=dict(type='LinkDistiller', links=dict(loss_feat=link)))


def stock(task: Task, connector: dict, loss: dict, channels: tuple, levels: int) -> dict:
    """MMRazor's algorithm with a connector and a loss for every level, written its way."""
    recorder = dict(feat=dict(type='ModuleOutputs', source=task.place))
    names = [f'loss_{level}' for level in range(levels)]
    student, teacher = loss.pop('arguments')
    index = (lambda level: dict(data_idx=level)) if levels > 1 else (lambda level: {})
    keys = connector.pop('channels')
    return dict(
        type=task.stock, architecture=task.student, teacher=task.teacher,
        distiller=dict(
            type='ConfigurableDistiller', student_recorders=recorder, teacher_recorders=recorder,
            connectors={name: dict(connector, **dict(zip(keys, channels))) for name in names},
            distill_losses={name: dict(loss) for name in names},
            loss_forward_mappings={
                name: {student: dict(recorder='feat', from_student=True, connector=name,
                                     **index(level)),
                       teacher: dict(recorder='feat', from_student=False, **index(level))}
                for level, name in enumerate(names)}))


def stock_mgd(name: str, task: Task) -> dict:
    """MMRazor's algorithm with its MGD, between the networks of ``task``, read as in ``name``."""
    mgd = dict(type='MGDConnector', lambda_mgd=.65,
               channels=('student_channels', 'teacher_channels'))
    loss = dict(type='MGDLoss', alpha_mgd=task.alpha, arguments=('preds_S', 'preds_T'))
    return stock(task, mgd, loss, CHANNELS[name], LEVELS[name])


def mlp_rows(name: str, batch: dict) -> Dict[str, Callable[[], Row]]:
    """The rows of a task, each built when it is first asked for.

    Args:
        name (str): 'cls', 'seg' or 'det'.
        batch (dict): What the data preprocessor would give.
    """
    task, device = TASKS[name](), batch['inputs'].device

    def teacher_forward() -> Row:
        model = build(lean(task, teacher_fuse_bn=False, teacher_channels_last=False)).to(device)

        def forward():
            model.run_teacher(batch['inputs'], batch['data_samples'])
        return Row(model.teacher, forward)

    def connectors_alone() -> Row:
        model = build(lean(task)).to(device)
        distiller = model.distiller
        with torch.no_grad():
            model.run_teacher(batch['inputs'], batch['data_samples'])
            model.run_student(batch['inputs'], batch['data_samples'])
        link = distiller.links[0]
        levels = distiller.levels[link.name]
        features = [distiller.feature(True, level.student).detach().requires_grad_()
                    for level in levels]
        targets = [distiller.feature(False, level.teacher).contiguous() for level in levels]

        def forward():
            for feature in features:
                feature.grad = None
            return sum(distiller.level_loss(link, *level)
                       for level in zip(levels, features, targets))
        return Row(distiller, forward, given=features)

    compiled = {'ours, compiled teacher': lambda: training(
        build(lean(task, teacher_compile=COMPILED[device.type])), batch)} \
        if HOOKS_ARE_COMPILED else {}
    mlp = dict(type='MLPConnector', channels=('in_channels', 'out_channels'))
    mlp_loss = dict(type='FeatureL2Loss', loss_weight=task.alpha,
                    arguments=('s_feature', 't_feature'))
    return {
        'student': lambda: training(build(task.student), batch),
        'teacher forward': teacher_forward,
        'connectors and losses': connectors_alone,
        "MMRazor's MGD": lambda: training(build(stock_mgd(name, task)), batch),
        "MMRazor with our MLP": lambda: training(
            build(stock(task, mlp, mlp_loss, CHANNELS[name], LEVELS[name])), batch),
        'ours': lambda: training(build(lean(task)), batch),
        'ours, student channels_last': lambda: training(
            build(lean(task, student_channels_last=True)), batch),
        **compiled,
        'ours, fast teacher': lambda: training(build(lean(task, **FAST)), batch),
        'ours, both': lambda: training(
            build(lean(task, student_channels_last=True, **FAST)), batch)}
