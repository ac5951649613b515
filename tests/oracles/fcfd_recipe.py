"""A recipe of FCFD with an oracle's weights, and the oracle."""
import numpy as np
from mmpretrain.structures import DataSample
from mmrazor.registry import MODELS

from mmdistill_ext.models.backbones.repdistiller_keys import NETWORKS, public_tensors
from tests.configs.tiny import load

from .formula import DATA, fill, images_of, labels_of, shapes_of, unequal_tensors

RECIPES = {  # our student and teacher -> theirs
    'resnet32x4_resnet8x4_1xb64_cifar100': 'resnet8x4_resnet32x4',
    'vgg13_vgg8_1xb64_cifar100': 'vgg8_vgg13',
    'resnet32x4_shufflenet-v1_1xb64_cifar100': 'ShuffleV1_resnet32x4',
    'resnet32x4_shufflenet-v2_1xb64_cifar100': 'ShuffleV2_resnet32x4',
    'resnet34_resnet18_8xb32_in1k': 'resnet18IN_resnet34IN'}
LOG = dict(ce='student.loss')  # all others are 'fcfd.loss_' and their name


class Recipe:
    """A recipe with the oracle's weights in float64, and the oracle."""

    def __init__(self, name):
        self.oracle = dict(np.load(DATA / f'fcfd_{RECIPES[name]}.npz'))
        self.config = load(f'fcfd/cls/fcfd_{name}.py')
        model = dict(self.config.model, random_teacher=True)
        model.pop('teacher_ckpt')
        self.model = MODELS.build(model).double()
        self.seed = int(self.oracle['seed'])
        self.names = {side: self.fill(side) for side in ('student', 'teacher')}
        for path, bridge in self.model.bridges.items():
            fill(bridge, lambda part, path=path: f'bridge.{path}.{part}', self.seed)
        self.model.train()

    def fill(self, side):
        """The oracle's weights into a network; the authors' tensor names -> ours."""
        net, name = getattr(self.model, side), str(self.oracle[side])
        shapes = shapes_of(self.oracle[f'{side}_names'], self.oracle[f'{side}_shapes'])
        own = net.state_dict()
        if name in NETWORKS:
            names = {theirs: ours for theirs, (ours, _) in public_tensors(name).items()}
        else:  # torchvision's: in mmpretrain the same tensors come in the same order
            names = dict(zip(shapes, own))
        assert {names[key]: shape for key, shape in shapes.items()} == {
            key: tuple(value.shape) for key, value in own.items()}
        theirs = {ours: key for key, ours in names.items()}
        fill(net, lambda key: f'{side}.{theirs[key]}', self.seed)
        return names

    def losses(self, number, paths):
        """Of a batch, along the paths."""
        self.model.sampler.draw = lambda: [
            path for path in self.model.sampler.candidates if path.name in paths]
        images, labels = self.oracle['image_shape'], int(self.oracle['classes'])
        samples = [DataSample().set_gt_label(label)
                   for label in labels_of(number, int(images[0]), labels)]
        return self.model(images_of(number, images), samples, mode='loss')

    def theirs(self):
        """The terms, weighted."""
        terms = {key[5:]: float(value) for key, value in self.oracle.items() if key[:5] == 'term/'}
        weights = dict(ce=1, kd=1, kl=self.oracle['weight_path_kl'], mse=self.oracle['weight_mse'])
        return {LOG.get(term, f'fcfd.loss_{term}'): value * float(
            weights[term if term in weights else 'kl' if term.endswith('_kl') else 'mse'])
            for term, value in terms.items()}

    def wrong(self, names, numbers, mine, **rtol):
        return unequal_tensors(self.oracle[names], self.oracle[numbers], mine, **rtol)

    def of_bridge(self, pick):
        parts = {f'{path}.{name}': value for path, bridge in self.model.bridges.items()
                 for name, value in bridge.state_dict(keep_vars=True).items()}
        return lambda name: pick(parts[name])

    def of_network(self, side, pick=lambda value: value):
        parts = getattr(self.model, side).state_dict(keep_vars=True)
        return lambda name: pick(parts[self.names[side][name]])

    def of_path(self, name):
        """A statistic of a mixed path; an untrained variance is 1 here and 0 in their code."""
        path, name = name.split('|')
        layer, part = self.names['teacher' if path[:3] == 's2t' else 'student'][name].rsplit('.', 1)
        value = getattr(self.model.path_stats, path)[layer.replace('.', '/')].get_buffer(part)
        return value - 0.9 if part == 'running_var' else value
