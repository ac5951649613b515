"""FCFD written down from its equations once more, slowly, and networks small enough for it."""
import itertools

import torch
from mmengine.config import ConfigDict
from mmengine.model import BaseModule
from mmengine.registry import MODELS as ROOT
from mmpretrain.structures import DataSample
from mmrazor.registry import MODELS
from torch import nn
from torch.nn import functional as F

import mmdistill_ext  # noqa: F401

CLASSES, LABELS = 5, [0, 3, 1, 4]
EVERY = [(k, d) for k in (1, 2) for d in ('s2t', 't2s')]  # path of three stages


@ROOT.register_module()
class PlainStages(BaseModule):
    """Stages of one convolution, perhaps BatchNorm, perhaps ReLU."""

    def __init__(self, channels, strides, relu, norm=True):
        super().__init__()
        self.relus, self.outputs = relu, [f'layer{k + 1}' for k in range(len(channels))]
        for name, cin, cout, stride, active in zip(
                self.outputs, (3, *channels), channels, strides, relu):
            layers = [nn.Conv2d(cin, cout, 3, stride, 1)]
            layers += [nn.BatchNorm2d(cout)] if norm else []
            layers += [nn.ReLU(inplace=True)] if active else []
            self.add_module(name, nn.Sequential(*layers))

    def forward(self, x):
        for name in self.outputs:
            x = getattr(self, name)(x)
        return x,


def model(channels, strides, relu=None, norm=True):
    backbone = dict(type='PlainStages', channels=channels, strides=strides,
                    relu=relu or [True] * len(channels), norm=norm)
    return dict(_scope_='mmpretrain', type='ImageClassifier', backbone=backbone,
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', num_classes=CLASSES, in_channels=channels[-1]))


STUDENT = model([4, 5, 6], [1, 2, 2])
TEACHER = model([6, 7, 8], [1, 2, 2])
PAIRS = {  # student, teacher
    'same size': (STUDENT, TEACHER),
    'teacher half as large': (STUDENT, model([6, 7, 8], [2, 2, 2])),
    'teacher twice as large': (model([4, 5, 6], [2, 2, 2]), TEACHER),
    'all ratios': (model([4, 5, 6], [2, 1, 2]), model([6, 7, 8], [1, 2, 4])),
    'before the ReLU': (model([4, 5, 6], [1, 2, 2], [True, False, False]),
                        model([6, 7, 8], [1, 2, 2], [False, True, False])),
    'four stages': (model([4, 5, 6, 7], [1, 2, 2, 1]), model([6, 7, 8, 9], [2, 1, 2, 2])),
    'no norm in the student': (model([4, 5, 6], [1, 2, 2], norm=False), TEACHER),
}


def build(student=STUDENT, teacher=TEACHER, seed=0, fill=True, double=True, **fields):
    torch.manual_seed(seed)
    config = dict(_scope_='mmrazor', type='FCFDDistill', architecture=student, teacher=teacher,
                  random_teacher=True, teacher_channels_last=False)
    config.update(fields)
    algorithm = MODELS.build(ConfigDict(config)).train()
    algorithm = algorithm.double() if double else algorithm
    return randomized(algorithm) if fill else algorithm


@torch.no_grad()
def randomized(module):
    """Biases and norm layers that are not just ones and zeros, and logits of about unit size."""
    for child in module.modules():
        if isinstance(child, nn.Linear):  # init_weights made those of the teacher small
            child.reset_parameters()
            child.weight.mul_(4)  # a KL near zero would be all rounding in half precision
    for tensor in itertools.chain(module.parameters(), module.buffers()):
        if tensor.ndim == 1:
            tensor.copy_(torch.rand_like(tensor) + 0.5)
    return module


def data(seed=0, size=16):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(len(LABELS), 3, size, size, generator=generator, dtype=torch.double)
    return images, [DataSample().set_gt_label(label) for label in LABELS]


# ---- the equations

def norm(x, layer):
    if layer.training:
        mean = x.mean((0, 2, 3))
        var = ((x - mean[:, None, None])**2).mean((0, 2, 3))
    else:
        mean, var = layer.running_mean, layer.running_var
    x = (x - mean[:, None, None]) / (var + layer.eps).sqrt()[:, None, None]
    return x * layer.weight[:, None, None] + layer.bias[:, None, None]


def stage(net, k, x):
    """M_k, k from 1."""
    conv, *rest = getattr(net.backbone, f'layer{k}')
    x = F.conv2d(x, conv.weight, conv.bias, conv.stride, padding=1)
    for layer in rest:
        x = norm(x, layer) if isinstance(layer, nn.BatchNorm2d) else x.clamp(min=0)
    return x


def classify(net, x):
    """C."""
    return x.mean((2, 3)) @ net.head.fc.weight.T + net.head.fc.bias


def cross(bridge, x, target_size, active):
    """B, its kind told by the sizes."""
    weight, bias, scale = bridge.conv.weight, bridge.conv.bias, target_size / x.shape[2]
    if scale == 1:
        assert bias is None
        x = F.conv2d(x, weight, padding=1)
    elif scale == 0.5:
        x = F.conv2d(x, weight, bias, stride=2, padding=1)
    else:
        assert scale == 2
        x = F.conv_transpose2d(x, weight, bias, stride=2, padding=1)
    x = norm(x, bridge.bn)
    return torch.where(x > 0, x, 0.1 * x) if active else x


def mse(x, target):
    total = 0
    for a, b in zip(x, target):
        total = total + ((a - b)**2).sum()
    return total / x.numel()


def pool(x):
    return x.clamp(min=0).mean((2, 3))


def kl(student, teacher, tau):
    total = 0
    for s, t in zip(student, teacher):
        p, q = (t / tau).exp(), (s / tau).exp()
        p, q = p / p.sum(), q / q.sum()
        total = total + (p * (p.log() - q.log())).sum()
    return tau**2 * total / len(student)


def dkd(student, teacher, tau, alpha=1, beta=2):
    total = 0
    for s, t, label in zip(student, teacher, LABELS):
        p, q = (t / tau).exp(), (s / tau).exp()
        p, q = p / p.sum(), q / q.sum()
        for c in range(CLASSES):
            if c == label:
                total = total + alpha * p[c] * (p[c] / q[c]).log()
            else:
                ratio = (p[c] / (1 - p[label])) / (q[c] / (1 - q[label]))
                total = total + beta * p[c] / (1 - p[label]) * ratio.log()
        total = total + alpha * (1 - p[label]) * ((1 - p[label]) / (1 - q[label])).log()
    return tau**2 * total / len(student)


def task(logits):
    return sum(-(z - z.exp().sum().log())[label] for z, label in zip(logits, LABELS)) / len(LABELS)


def reference(algorithm, images, paths, divergence=kl, tau=1., mse_weight=1., func_weight=1.,
              appearance=True, s2t_terms=('l2', 'kl'), t2s_terms=('kl', ), partial=False):
    """Every term of FCFD by name.

    Args:
        paths: Of (k, direction).
        divergence: ``kl`` or ``dkd``.
        Others as in the equations.
    """
    student, teacher, bridges = algorithm.student, algorithm.teacher, algorithm.bridges
    n = len(student.backbone.outputs)
    f_s, f_t, x, y = {}, {}, images, images
    for k in range(1, n + 1):
        f_s[k] = x = stage(student, k, x)
        f_t[k] = y = stage(teacher, k, y).detach()
    p_s, p_t = classify(student, f_s[n]), classify(teacher, f_t[n]).detach()

    def to_teacher(k):
        return cross(bridges[f's2t_{k}'], f_s[k], f_t[k].shape[2], teacher.backbone.relus[k - 1])

    def to_student(k):
        return cross(bridges[f't2s_{k}'], f_t[k], f_s[k].shape[2], student.backbone.relus[k - 1])

    terms = {'student.loss': task(p_s), 'fcfd.loss_kd': divergence(p_s, p_t, tau)}
    if appearance:
        for k in range(1, n + 1):
            terms[f'fcfd.loss_app_{k}'] = mse_weight * mse(to_teacher(k), f_t[k])
        terms['fcfd.loss_app_pooled'] = mse_weight * mse(pool(to_teacher(n)), pool(f_t[n]))
    for k, direction in paths:
        name = f'fcfd.loss_{direction}_{k}'
        net, goal = (teacher, f_t) if direction == 's2t' else (student, f_s)
        x = to_teacher(k) if direction == 's2t' else to_student(k)
        wanted = s2t_terms if direction == 's2t' else t2s_terms
        l2 = 0
        for later in range(k + 1, n + 1):
            x = stage(net, later, x)
            l2 = l2 + mse_weight * mse(x, goal[later].detach())
            if later == n:
                l2 = l2 + mse_weight * mse(pool(x), pool(goal[n]).detach())
            if partial and direction == 's2t':
                break
        if 'l2' in wanted:
            terms[f'{name}_l2'] = l2
        if 'kl' in wanted and not (partial and direction == 's2t'):
            terms[f'{name}_kl'] = func_weight * divergence(classify(net, x), p_t, tau)
    return terms
