"""Every row of the tables in docs/troubleshooting.md: one clear line, exit code 2, nothing left."""
import os
import re
import runpy
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.visualization import Visualizer
from mmrazor.registry import MODELS

import mmdistill_ext  # noqa: F401
from tests.tools.toy import REPO, run, tool, write

pytestmark = pytest.mark.train

PLUGIN = '''
import torch
from mmengine.registry import MODELS
from mmpretrain.models import ImageClassifier, ResNet


class OnlyWhenTried(ResNet):
    """A layer of it runs in evaluation and not in training."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.aside = torch.nn.Identity()

    def forward(self, x):
        outs = super().forward(x)
        return outs if self.training else (self.aside(outs[-1]), )


SHARED = []


def one_object(**config):
    SHARED.append(SHARED[0] if SHARED else ImageClassifier(**config))
    return SHARED[-1]


for thing in (OnlyWhenTried, one_object):
    MODELS.register_module(module=thing, force=True)
'''
PLUGGED = "custom_imports = dict(imports=['plugin', 'mmdistill_ext'])\n"
LINK = 'model.distiller.links.loss_feature'
BACKBONE = 'model.architecture.backbone'


def options(*pairs):
    return ['toy.py', '--cfg-options', *pairs]


def teacher(path):
    return options(f'model.teacher_ckpt={path}', 'model.random_teacher=False')


def scheduled(loss='loss_feature', **phase):
    phases = [dict(begin=0, end=1, start=0., stop=1.), dict(dict(
        begin=1, end=2, start=1., stop=0.), **phase)]
    return ('custom_hooks = [dict(type="mmrazor.LossWeightHook", '
            f'loss={loss!r}, phases={phases})]').replace('nan', "float('nan')").replace(
                'inf', "float('inf')")


def connected(**fields):
    return ('model = dict(distiller=dict(links=dict(loss_feature=dict(connector=dict('
            f'_delete_=True, type="MLPConnector", **{fields})))))')


def transformers(own, theirs, **link):
    """Two ViTs with patches of these sizes, and a link between their first layers."""

    def net(patch):
        return dict(
            _delete_=True, _scope_='mmpretrain', type='ImageClassifier',
            data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor', mean=[120.] * 3,
                                   std=[60.] * 3),
            backbone=dict(type='VisionTransformer', img_size=32, patch_size=patch, arch=dict(
                embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16)),
            head=dict(type='LinearClsHead', num_classes=2, in_channels=16))

    link = dict(student='backbone.layers.0', teacher='backbone.layers.0', **link)
    return (f'model = dict(architecture={net(own)}, teacher={net(theirs)}, '
            f'distiller=dict(links=dict(loss_feature={link})))')


def fcfd(kind, teacher='_base_.model.teacher', **fields):
    return (f'model = dict(_delete_=True, _scope_="mmrazor", type={kind!r}, random_teacher=True, '
            f'architecture=_base_.model.architecture, teacher={teacher}, **{fields})')


def own_form(mapping):
    """A loss in MMRazor's own form, beside a link."""
    mappings = dict(loss_kd=mapping) if mapping else {}
    return ('recorders = dict(fc=dict(type="ModuleOutputs", source="head.fc"))\n'
            'model = dict(distiller=dict(student_recorders=recorders, teacher_recorders=recorders, '
            f'distill_losses=dict(loss_kd=dict(type="KLDivergence")), '
            f'loss_forward_mappings={mappings}))')


FC = dict(recorder='fc', from_student=True)
WRN = 'dict(type="CIFARWideResNet", depth=10, widen_factor=1)'
WRN_HEAD = 'dict(type="LinearClsHead", num_classes=2, in_channels=64)'

# How to get there (arguments of train.py, or what a config on top of the toy's says), the row of
# the page (words in capitals stand for anything), what else the line must have.
CASES = {
    'no such config': (['gone.py'], 'no config at PATH', ['gone.py']),
    'syntax': (['syntax.py'], 'FILE: SyntaxError: ', ['syntax.py', 'line 1']),
    'raises': (['raises.py'], 'FILE: NameError: ', ['raises.py', 'undefined_name']),
    'base': (['base.py'], 'FILE: FileNotFoundError: ', ['nowhere.py']),
    'plugin': (['plugin_gone.py'], 'FILE: ImportError: ', ['not_there_at_all']),
    'package': (['unknown_package.py'],
                'FILE: AssertionError: mmengine does not support to load PACKAGE config',
                ['mmseeg']),
    'package not installed': (
        "model = dict(architecture=dict(_delete_=True, cfg_path='mmyolo::yolov5/yolov5_s.py', "
        'pretrained=False))', "'PACKAGE' is named in a config", ['mmyolo', 'pip install']),
    'no model': ('model = None', 'FILE has no KEY, which is needed here', ["'model'"]),
    'options': (options('model'), '--cfg-options takes key=value pairs', ["'model'"]),
    'option unknown': (options('modle.type=A'), '--cfg-options KEY: the config has no KEY',
                       ["'modle'", "'model'"]),
    'option index': (options('pipeline.7.type=A'), '--cfg-options KEY: ', ['pipeline']),
    'option brackets': (options('a=[1,(2]'), '--cfg-options KEY: ', ['[1,(2]']),
    'option imports': (options('custom_imports.imports=not_there_at_all'),
                       '--cfg-options KEY: ', ['custom_imports', 'not_there_at_all']),
    'name of a field': ('find_unused_parameter = True',
                        'FILE: nothing reads NAME; did you mean', ["'find_unused_parameters'"]),
    'amp': (['toy.py', '--amp'], '--amp needs a GPU', []),
    'algorithm': (options('model.type=LeanTeacherDistil'),
                  'type NAME is not in the SCOPE::REGISTRY registry',
                  ["'LeanTeacherDistil'", "'LeanTeacherDistill'"]),
    'backbone': (options(f'{BACKBONE}.type=ResNett'),
                 'type NAME is not in the SCOPE::REGISTRY registry', ["'ResNett'", "'ResNet'"]),
    'sister scope': (options('model.architecture.type=RetinaNett'),
                     'type NAME is not in the SCOPE::REGISTRY registry', ["'RetinaNett'"]),
    'transform': (options('train_dataloader.dataset.pipeline.0.type=LoadImage'),
                  'type NAME is not in the SCOPE::REGISTRY registry', ["'LoadImage'", 'transform']),
    'hook': (options('default_hooks.logger.type=LogerHook'),
             'type NAME is not in the SCOPE::REGISTRY registry', ["'LogerHook'", "'LoggerHook'"]),
    'no type': (options('default_hooks.timer.interval=3'), 'a part of the config has no type',
                ["{'interval': 3}"]),
    'normalisation beside the model': (
        'data_preprocessor = dict(mean=[120.] * 3, std=[60.] * 3, to_rgb=True)',
        "a part of the config has no type: DICT; mmpretrain's data_preprocessor beside the model",
        ["'mean'", 'data_preprocessor=None']),
    'layer-wise decay': (
        'optim_wrapper = dict(constructor="mmseg.LearningRateDecayOptimizerConstructor", '
        'paramwise_cfg=dict(num_layers=4, decay_rate=.9))',
        'optim_wrapper.constructor: ERROR; it counts layers by the names of a model alone',
        ['LeanTeacherDistill', "'backbone'"]),
    'argument': (options(f'{BACKBONE}.depht=18'), 'CLASS has no argument NAME',
                 ["'depht'", "'depth'"]),
    'data': (options('train_dataloader.dataset.data_root=/data/not/here'),
             'No such file or directory', ['/data/not/here']),
    'load_from': (options('load_from=gone.pth'), 'PATH can not be found', ['gone.pth']),
    'load_from of a student alone': (
        options('load_from=good.pth'), 'load_from: CLASS has its student under',
        ['LeanTeacherDistill', "'architecture.'", "'backbone.conv1.weight'", 'init_cfg']),
    'load_from of a student alone, Tf-FD': (
        'model = dict(_delete_=True, _scope_="mmrazor", type="TeacherFreeDistill", '
        'architecture=_base_.model.architecture, distiller=dict(type="LinkDistiller", links=dict('
        'loss_intra=dict(student="backbone.layer4", loss=dict(type="TfFDIntraLoss", '
        'form="released")))))\nload_from = "good.pth"',
        'load_from: CLASS has its student under', ['TeacherFreeDistill', 'init_cfg']),
    'kind of a field': (options('model.distiller=LinkDistiller'), 'FIELD is a KIND, found',
                        ["distiller is a dict, found 'LinkDistiller'"]),
    'kind of the student': (options('model.architecture=student.py'), 'FIELD is a KIND, found',
                            ["architecture is a dict or BaseModel, found 'student.py'"]),
    'kind of stages': (
        fcfd('FCFDDistill', student_stages='backbone.layer4'), 'FIELD is a KIND, found',
        ["student_stages is a list or tuple, found 'backbone.layer4'"]),
    'kind of paths': (fcfd('FCFDDistill', paths=2), 'FIELD is a KIND, found',
                      ['paths is a dict, found 2']),
    'kind of a loss': (fcfd('FCFDDistill', loss_kd=2), 'FIELD is a KIND, found',
                       ['loss_kd is a dict, found 2']),
    'loss without mapping': (
        own_form(None), 'distill_losses: NAME is not in loss_forward_mappings', ["'loss_kd'"]),
    'mapping of a feature with itself': (
        own_form(dict(preds_S=FC, preds_T=FC)),
        'loss_forward_mappings: NAME compares a feature with itself',
        ["'loss_kd'", 'from_student=False']),
    'mapping of an argument that is not there': (
        own_form(dict(preds_S=FC, preds=FC)), 'distiller: ',
        ['preds is not in the signature of KLDivergence forward']),

    'teacher missing': (teacher('gone.pth'), 'teacher_ckpt PATH cannot be loaded', ['gone.pth']),
    'teacher truncated': (teacher('cut.pth'), 'PATH is no checkpoint, or one that was cut short',
                          ['cut.pth']),
    'teacher no checkpoint': (
        teacher('toy.py'), 'PATH is no checkpoint, or one that was cut short', ['toy.py']),
    'teacher without weights': (teacher('numbers.pth'), 'teacher_ckpt PATH holds no state_dict',
                                ['numbers.pth']),
    'teacher with objects': (
        teacher('wicked.pth'), 'PATH holds NAME, which no checkpoint of mmengine holds',
        ['wicked.pth', 'system', 'not loaded']),
    'teacher of another architecture': (
        teacher('other.pth'), 'teacher_ckpt PATH does not fit the teacher (CLASS): COUNT missing',
        ['backbone.layer1.0.conv1']),
    'teacher of other classes': (
        teacher('classes3.pth'),
        'teacher_ckpt PATH does not fit the teacher (CLASS): COUNT of another shape',
        ['head.fc.weight (3, 64) instead of (2, 64)']),
    'teacher not named': (options('model.random_teacher=False'), 'teacher_ckpt is missing', []),
    'teacher named and random': (
        options('model.teacher_ckpt=good.pth'),
        'random_teacher=True and teacher_ckpt=PATH contradict', ['good.pth']),
    'teacher is the student': (
        PLUGGED + "model = dict(architecture=dict(type='one_object'), "
        "teacher=dict(type='one_object'))", 'teacher and student are one object',
        ['TeacherFreeDistill']),
    'teacher without mean and std': (
        PLUGGED + "model = dict(teacher=dict(data_preprocessor=dict(_delete_=True, "
        "type='mmdet.DetDataPreprocessor')))",
        "the teacher's data_preprocessor (CLASS) states no mean and std", ['mmpretrain']),
    'teacher of another kind of data': (
        "model = dict(data_preprocessor=dict(type='mmdet.MultiBranchDataPreprocessor', "
        "data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor')))",
        "the teacher's data_preprocessor is a CLASS, the student's a CLASS",
        ['one type, or two of']),
    'teacher of one size': (
        'mixer = dict(_delete_=True, type="MlpMixer", img_size=64, arch=dict(embed_dims=32, '
        'num_layers=1, tokens_mlp_dims=8, channels_mlp_dims=8))\n'
        'model = dict(teacher=dict(backbone=mixer, head=None), distiller=dict(links=dict('
        'loss_feature=dict(student="backbone.layer3", teacher="backbone.layers.0"))))',
        'the teacher (CLASS, built for images of SIZE) does not run on SIZE',
        ['64x64', '32x32', 'teacher_size=(64, 64)']),
    'size of the teacher': (options('model.teacher_size=518'),
                            'teacher_size is a factor up to 4', ['518']),
    'size of the teacher and tokens': (
        transformers(8, 8, resize=True).replace(
            "'student': 'backbone.layers.0'", "'student': 'backbone.patch_embed.projection'")
        + '\nmodel.update(teacher_size=.5)', 'teacher_size, link NAME: tokens cannot become a map',
        ["out_type='featmap'"]),
    'size of the teacher and logits': (
        options('model.teacher_size=.5', 'model.distiller.links.loss_feature.student=head.fc',
                'model.distiller.links.loss_feature.teacher=head.fc'),
        'teacher_size: the teacher is read at PLACE', ["'head.fc'"]),
    'size of the teacher in FCFD': (fcfd('FCFDDistill', teacher_size=.5),
                                    'teacher_size: CLASS runs features of one network through', []),
    'an argument of torch.compile': (options('model.teacher_compile.mod=default'),
                                     'teacher_compile: torch.compile has no argument NAME',
                                     ["'mod'", "did you mean 'mode'"]),
    'teacher without head trained': (
        options('model.teacher.head=None', 'model.teacher_trainable=True'),
        'teacher_trainable=True needs a teacher with a head', ['ImageClassifier']),
    'SimKD without a classifier': (
        fcfd('FCFDSimKD', '{k: v for k, v in _base_.model.teacher.items() if k != "head"}'),
        'inherit, teacher: MODEL has no module NAME', ["'head'"]),
    'SimKD before the last ReLU': (
        f'parts = dict(backbone={WRN}, head={WRN_HEAD})\n'
        'neck = [dict(type="SimKDProjector", in_channels=64, out_channels=64), '
        'dict(type="GlobalAveragePooling")]\n'
        'model = dict(_delete_=True, _scope_="mmrazor", type="FCFDSimKD", random_teacher=True, '
        'architecture=dict(_base_.model.architecture, neck=neck, **parts), '
        'teacher=dict(_base_.model.teacher, **parts))',
        "FCFDSimKD: the teacher's last stage STAGE has negative values",
        ['backbone.layer3.bn', 'end teacher_stages after a ReLU']),
    'FCFD with other classes': (
        fcfd('FCFDDistill', 'dict(_base_.model.teacher, head=dict(type="LinearClsHead", '
             'num_classes=3, in_channels=64))'),
        'FCFD: the student has COUNT classes, the teacher COUNT', []),

    'link student': (options(f'{LINK}.student=bakbone'),
                     'link NAME, SIDE: MODEL has no module PLACE', ["'bakbone'", "'backbone'"]),
    'link teacher': (options(f'{LINK}.teacher=nek'),
                     'link NAME, SIDE: MODEL has no module PLACE', ["'nek'", "'neck'"]),
    'link never runs': (
        options(f'{LINK}.student=head.loss_module'),
        'SIDE of NAME: the module PLACE exists but never runs', ["'head.loss_module'"]),
    'head in a checkpoint': ("activation_checkpointing = ['architecture.head']",
                             "the student's own losses (LOSS) have no gradient",
                             ['loss', 'activation_checkpointing']),
    'backbone in a checkpoint': (
        fcfd('FCFDDistill') + "\nactivation_checkpointing = ['architecture.backbone']",
        'FCFD, student: no gradient reaches a parameter through PLACE',
        ["'backbone.layer1'", 'activation_checkpointing']),
    'link not in training': (
        PLUGGED + "model = dict(architecture=dict(backbone=dict(type='OnlyWhenTried')), "
        "distiller=dict(links=dict(loss_feature=dict(student='backbone.aside'))))",
        'link NAME, SIDE: PLACE ran COUNT times in this training step',
        ["'loss_feature'", "'backbone.aside'", '0 times']),
    'link frozen': (
        options(f'{BACKBONE}.frozen_stages=4'),
        'link NAME, student: no gradient reaches a parameter through PLACE',
        ["'loss_feature'", "'backbone'"]),
    'link overwritten': (
        options(f'{LINK}.student=backbone.layer4.1.bn2'),
        'SIDE of NAME: MODEL overwrites the output of PLACE', ["'backbone.layer4.1.bn2'"]),
    'link channels': (
        options(f'{LINK}.connector=None'),
        'link NAME, PLACE and PLACE: FeatureL2Loss: the student feature is',
        ['[32, 4, 4]', '[64, 4, 4]', 'connector']),
    "link channels, MMRazor's loss": (
        options(f'{LINK}.connector=None', f'{LINK}.loss.type=L2Loss'),
        'link NAME: PLACE and PLACE do not match', ['[32, 4, 4]', 'connector']),
    'link size': (
        options(f'{LINK}.student=backbone.layer3'),
        'link NAME: student PLACE and teacher PLACE differ in height or width',
        ['[16, 8, 8]', '[64, 4, 4]', 'resize=True']),
    'link kinds': (
        options(f'{LINK}.student=neck'),
        'link NAME: student PLACE and teacher PLACE: the student returns a',
        ['vector [N, C]', 'map [N, C, H, W]', 'same kind']),
    'link tokens': (
        transformers(16, 32),
        'link NAME: student PLACE and teacher PLACE have COUNT and COUNT tokens',
        ['65 and 17 tokens']),
    'link loss of tokens': (
        transformers(16, 16, connector=None, loss=dict(type='KLDivergence', _delete_=True)),
        'link NAME: PLACE are tokens [L, C], and CLASS reads', ['[65, 16]', 'FeatureL2Loss']),
    'link levels': (
        options(f'{LINK}.student=backbone.layer3,backbone.layer4'),
        'link NAME: the student returns COUNT features', ['returns 2 features', 'the teacher 1']),
    'link name': (
        "model = dict(distiller=dict(links=dict(feature=dict(student='backbone', "
        "teacher='backbone', loss='FeatureL2Loss'))))",
        "link NAME: the name must contain 'loss'", ["'loss_feature'"]),
    'link field': (
        options(f'{LINK}.conector=MLPConnector'),
        'link NAME: unknown field FIELD; did you mean', ["'conector'", "'connector'"]),
    'link without loss': (options(f'{LINK}.loss=None'), 'link NAME: the field FIELD is missing',
                          ["'loss'"]),
    'link without teacher': (
        options(f'{LINK}.teacher=None', f'{LINK}.connector=None'),
        'link NAME: the field FIELD is missing',
        ["'teacher'", 'FeatureL2Loss compares s_feature and t_feature']),
    'link loss': (options(f'{LINK}.loss.type=FeatureL3Loss'),
                  'link NAME: loss TYPE is not registered', ["'FeatureL2Loss'"]),
    'link size of a connector': (
        connected(hidden_channels=-4),
        'link NAME: connector TYPE: ', ['hidden_channels is a whole number from 1, found -4']),
    'link field of a connector': (
        connected(width=4),
        'link NAME: connector TYPE: ', ['width']),
    'weight negative': (options(f'{LINK}.loss.loss_weight=-1'),
                        "link NAME: loss_weight is a number from 0, found", ['-1']),
    'weight text': (options(f'{LINK}.loss.loss_weight=high'),
                    "link NAME: loss_weight is a number from 0, found", ["'high'"]),
    'weight nan': (
        'model = dict(distiller=dict(links=dict(loss_feature=dict(loss=dict('
        "loss_weight=float('nan'))))))", "link NAME: loss_weight is a number from 0, found",
        ['nan']),
    'weight of FCFD': (fcfd('FCFDDistill', loss_kd=dict(type='KLDivergence', loss_weight=-2)),
                       'FIELD: loss_weight is a number from 0, found', ['loss_kd', '-2']),

    'schedule of nothing': (scheduled('loss_featur'),
                            'LossWeightHook of NAME: CLASS has no such loss', ["'loss_feature'"]),
    'schedule without end': (
        scheduled(end=float('inf')),
        'LossWeightHook of NAME, phase COUNT: end is a whole number from 0, found', ['inf']),
    'schedule after the end': (
        scheduled(end=40), 'LossWeightHook of NAME, phase COUNT ends at COUNT, but training at',
        ['ends at 40', 'training at 2']),
    'learning rate after the end': (
        "param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, begin=2, T_max=2)]",
        'param_scheduler: end should be larger than begin', ['begin=2, end=2']),
    'schedule overlaps': (
        scheduled(begin=0),
        'LossWeightHook of NAME, phase COUNT begins at COUNT, before the one before it ends',
        ['begins at 0']),
    'schedule of no number': (
        scheduled(stop=float('nan')),
        'LossWeightHook of NAME, phase COUNT: stop is a number from 0, found', ['nan']),

    'classes of the student': (
        options('model.architecture.head.num_classes=3'),
        "classes: the student's PLACE has COUNT, the training data", ['3', '2 (a, b)']),
    'classes of the teacher': (
        options('model.teacher.head.num_classes=3'),
        "classes: the teacher's PLACE has COUNT, the training data", ['3', '2 (a, b)']),
    'names of classes': (
        teacher('swapped.pth'), "classes: the teacher's checkpoint has ",
        ["'b' as number 0, the training data 'a'", 'SameClassesHook']),
}
LATER = {
    'nan': (options('optim_wrapper.optimizer.lr=1e30'),
            'iteration COUNT: LOSS is nan on FILES; look at these images',
            ['student.loss is nan', 'distill.loss_feature is', '/data/train/a/', '.png']),
    'too many skips': (
        "optim_wrapper = dict(optimizer=dict(lr=1e30))\n"
        "custom_hooks = [dict(type='mmrazor.FiniteLossHook', action='skip', max_skips=2)]",
        'iteration COUNT: LOSS is nan on FILES; COUNT steps were skipped before',
        ['iteration 4', '2 steps']),
}


OFFLINE = (
    'URL cannot be downloaded (REASON); without a network put the file at PATH yourself',
    ['http://127.0.0.1:9/gone.tar.gz', 'Connection refused', 'cifar-100-python.tar.gz'])


def full_disk(work_dir):
    (work_dir / 'epoch_1.pth.part').symlink_to('/dev/full')


def cut_short(work_dir):
    (work_dir / 'epoch_1.pth').write_bytes(b'half of')
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'epoch_1.pth'))


SAVING = {
    full_disk: ([], 'PATH cannot be written (REASON); what was saved before is untouched',
                ['epoch_1.pth', 'No space left on device', '--resume']),
    cut_short: (['--resume'],
                '--resume: PATH names PATH, which REASON, and no other checkpoint there is whole',
                ['last_checkpoint', 'epoch_1.pth', 'to begin anew']),
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('mistakes')
    write(folder)
    (folder / 'syntax.py').write_text('model = dict(\n')
    (folder / 'raises.py').write_text('model = dict(type=undefined_name)\n')
    (folder / 'base.py').write_text("_base_ = './nowhere.py'\n")
    (folder / 'unknown_package.py').write_text("_base_ = 'mmseeg::pspnet/x.py'\n")
    (folder / 'plugin_gone.py').write_text("custom_imports = dict(imports=['not_there_at_all'])\n")
    (folder / 'plugin.py').write_text(PLUGIN)
    (folder / 'case.py').touch()
    checkpoints(folder)
    return folder


class Wicked:
    """Writes a file when it is read by who believes everything."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.system, (f'touch {self.folder}/executed',)


def checkpoints(folder):
    """Files that are, more or less, the toy's teacher."""
    config = Config.fromfile(folder / 'toy.py').model.teacher
    good = MODELS.build(config).state_dict()
    for name, meta in dict(good=dict(dataset_meta=dict(classes=('a', 'b'))), wicked=Wicked(folder),
                           swapped=dict(dataset_meta=dict(classes=('b', 'a')))).items():
        torch.save(dict(state_dict=good, meta=meta), folder / f'{name}.pth')
    (folder / 'cut.pth').write_bytes((folder / 'good.pth').read_bytes()[:-5000])
    torch.save(dict(numbers=[1, 2]), folder / 'numbers.pth')
    config.head.num_classes = 3
    torch.save(MODELS.build(config).state_dict(), folder / 'classes3.pth')
    config.backbone = dict(type='ShuffleNetV2')
    torch.save(MODELS.build(config).state_dict(), folder / 'other.pth')


def arguments_of(folder, case):
    if isinstance(case, list):
        return case
    (folder / 'case.py').write_text(f"_base_ = './toy.py'\n{case}\n")
    return ['case.py']


def check(code, stderr, row, expected):
    assert code == 2, stderr
    lines = stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith('ERROR: '), stderr
    pattern = re.sub(r'\b[A-Z]{3,}\b', '.+', re.escape(f'ERROR: {row}'))
    assert re.match(pattern.replace('.+:', 'ERROR:', 1), lines[0]), lines[0]
    for part in expected:
        assert part in lines[0]


def train(arguments, folder, monkeypatch, capsys):
    """``tools/train.py`` in this process; its exit code and what it said on stderr."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setattr(sys, 'argv', ['train.py', *arguments])
    sys.modules.pop('plugin', None)
    kept = [(kind, kind._instance_dict.copy()) for kind in (MMLogger, Visualizer)]
    try:
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(REPO / 'tools/train.py'), run_name='__main__')
    finally:  # what writes to the stderr of this test
        for kind, instances in kept:
            kind._instance_dict.clear()
            kind._instance_dict.update(instances)
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize('case', CASES)
def test_before_the_first_step(folder, case, monkeypatch, capsys):
    how, row, expected = CASES[case]
    arguments = arguments_of(folder, how)
    before = {*folder.iterdir(), folder / '__pycache__'}
    check(*train(arguments, folder, monkeypatch, capsys), row, expected)
    assert {*folder.iterdir(), folder / '__pycache__'} == before


@pytest.mark.parametrize('case', LATER)
def test_during_training(folder, tmp_path, case, monkeypatch, capsys):
    how, row, expected = LATER[case]
    arguments = [*arguments_of(folder, how), '--work-dir', str(tmp_path)]
    check(*train(arguments, folder, monkeypatch, capsys), row, expected)
    assert list(tmp_path.glob('*/*.log'))
    assert len(list(tmp_path.glob('*.pth'))) == (case != 'nan')  # of the epoch that was skipped


def test_data_that_is_not_there_and_cannot_be_downloaded(folder, tmp_path, monkeypatch, capsys):
    dataset = dict(_delete_=True, type='CIFAR100', data_root=str(tmp_path), pipeline=[])
    arguments = arguments_of(folder, f'train_dataloader = dict(dataset={dataset})')
    monkeypatch.setattr('mmpretrain.datasets.CIFAR100.url', 'http://127.0.0.1:9/gone.tar.gz')
    check(*train(arguments, folder, monkeypatch, capsys), *OFFLINE)


@pytest.mark.parametrize('prepare', SAVING)
def test_saving_and_going_on(folder, tmp_path, prepare, monkeypatch, capsys):
    options, row, expected = SAVING[prepare]
    prepare(tmp_path)
    arguments = ['toy.py', '--work-dir', str(tmp_path), *options]
    check(*train(arguments, folder, monkeypatch, capsys), row, expected)
    assert (tmp_path / 'epoch_1.pth').exists() == (prepare is cut_short)  # which is still theirs


def test_the_page_has_these_rows_and_no_others():
    page = (REPO / 'docs/troubleshooting.md').read_text()
    assert set(re.findall(r'^\| `(.+?)` \|', page, re.M)) == {
        row for _, row, _ in (*CASES.values(), *LATER.values(), *SAVING.values())} | {OFFLINE[0]}


@pytest.mark.parametrize('case', ['algorithm', 'link not in training'])
def test_in_a_python_of_its_own(folder, case):
    how, row, expected = CASES[case]
    arguments = arguments_of(folder, how)
    before = {*folder.iterdir(), folder / '__pycache__'}
    done = run('python', REPO / 'tools/train.py', *arguments, cwd=folder, PYTHONPATH=str(folder))
    check(done.returncode, done.stderr, row, expected)
    assert {*folder.iterdir(), folder / '__pycache__'} == before


def test_a_folder_that_was_there_stays(folder):
    (folder / 'old').mkdir()
    (folder / 'old/notes.txt').write_text('mine')
    done = tool('train.py', 'toy.py', '--work-dir', 'old', '--cfg-options',
               'model.type=Nothing', cwd=folder)
    assert done.returncode == 2
    assert (folder / 'old/notes.txt').read_text() == 'mine'


def test_our_own_bugs_keep_their_traceback(folder):
    (folder / 'broken.py').write_text(
        'from mmengine.hooks import Hook\nfrom mmengine.registry import HOOKS\n'
        '@HOOKS.register_module()\nclass Broken(Hook):\n'
        '    def before_train_iter(self, *args, **kwargs):\n        {}["gone"]\n')
    (folder / 'buggy.py').write_text(
        "_base_ = './toy.py'\ncustom_imports = dict(imports=['broken', 'mmdistill_ext'])\n"
        "custom_hooks = [dict(type='Broken')]\n")
    done = tool('train.py', 'buggy.py', cwd=folder, PYTHONPATH=str(folder))
    assert done.returncode == 1
    assert 'Traceback' in done.stderr and "KeyError: 'gone'" in done.stderr


def test_a_missing_package_is_not_installed(folder, tmp_path):
    """mmengine's get_config would run pip; here a pip that would tell stands by."""
    (tmp_path / 'python').write_text(f'#!/bin/sh\necho called > {tmp_path}/called\n')
    (tmp_path / 'python').chmod(0o755)
    (folder / 'uninstalled.py').write_text(
        "_base_ = './toy.py'\nmodel = dict(architecture=dict(_delete_=True, "
        "cfg_path='mmyolo::yolov5/yolov5_s.py', pretrained=False))\n")
    done = tool('train.py', 'uninstalled.py', cwd=folder,
               PATH=f'{tmp_path}:{os.environ["PATH"]}')
    assert done.returncode == 2 and 'mmyolo' in done.stderr and 'pip install' in done.stderr
    assert not (tmp_path / 'called').exists()


@pytest.mark.parametrize('dataset', [
    "dict(type='mmdet.CocoDataset', data_root='/data/gone', ann_file='ann.json', "
    "data_prefix=dict(img=''), pipeline=[])",
    "dict(type='mmseg.CityscapesDataset', data_root='/data/gone', "
    "data_prefix=dict(img_path='a', seg_map_path='b'), pipeline=[])"])
def test_data_of_the_other_libraries(folder, dataset, monkeypatch, capsys):
    """Whatever stock dataset says that its files are gone."""
    arguments = arguments_of(
        folder, f'train_dataloader = dict(dataset=dict(_delete_=True, **{dataset}))')
    check(*train(arguments, folder, monkeypatch, capsys), '', ['/data/gone'])
