"""Every algorithm on the smallest models that have all of its parts."""
from tests.models.fcfd.heads import rcnn, reppoints, retina, segmentor
from tests.models.fcfd.reference import STUDENT, TEACHER
from tests.models.fcfd.test_combined import simkd_student
from tests.small import model_config

STAGES = ['backbone.layer1', 'backbone.layer2', 'backbone.layer3']


def normalised(model):
    """A classifier with images of about unit size."""
    return dict(model, data_preprocessor=dict(
        type='ClsDataPreprocessor', mean=[120.] * 3, std=[60.] * 3, num_classes=5))


def network(task, width):
    model = model_config(task, width)
    return normalised(model) if task == 'cls' else model


def mlp(task, place):
    """The channel MLP on one place."""
    return dict(
        type='LeanTeacherDistill', architecture=network(task, 4),
        teacher=network(task, 8), random_teacher=True,
        distiller=dict(type='LinkDistiller', links=dict(loss_link=dict(
            student=place, teacher=place, connector='MLPConnector',
            loss=dict(type='FeatureL2Loss', loss_weight=1e-5)))))


def tffd(student):
    return dict(
        type='TeacherFreeDistill', architecture=student,
        distiller=dict(type='LinkDistiller', links=dict(
            loss_intra=dict(student=STAGES, loss=dict(type='TfFDIntraLoss', loss_weight=8e-4)),
            loss_inter=dict(student=STAGES, loss=dict(type='TfFDInterLoss', loss_weight=5e-4)))))


def fcfd(kind, student, teacher, **fields):
    if student['type'] == 'ImageClassifier':
        student, teacher = normalised(student), normalised(teacher)
    return dict(type=kind, architecture=student, teacher=teacher, random_teacher=True, **fields)


# Name -> task and config. In FCFD for classifiers two of the four paths are drawn each step.
ALGORITHMS = {
    'mlp cls': ('cls', mlp('cls', 'backbone.layer4')),
    'mlp det': ('det', mlp('det', 'neck')),
    'mlp seg': ('seg', mlp('seg', 'backbone.layer4')),
    'tffd cls': ('cls', tffd(network('cls', 4))),
    'tffd seg': ('seg', tffd(network('seg', 4))),
    'fcfd cls': ('cls', fcfd('FCFDDistill', STUDENT, TEACHER)),
    'fcfd simkd': ('cls', fcfd('FCFDSimKD', simkd_student(), TEACHER)),
    'fcfd online': ('cls', fcfd('FCFDOnline', STUDENT, TEACHER)),
    'fcfd retinanet': ('det', fcfd('FCFDDense', retina(), retina(12))),
    'fcfd reppoints': ('det', fcfd('FCFDDense', reppoints(), reppoints(12))),
    'fcfd faster r-cnn': ('det', fcfd('FCFDRoI', rcnn(), rcnn(12))),
    'fcfd seg': ('seg', fcfd('FCFDSeg', segmentor(4), segmentor())),
}
