# ImageNet-1k, ResNet-18. Paper, Table 2: 69.75 -> 70.46 top-1.
# The form of the authors' code, which they published for CIFAR-100 alone. The paper warms the
# weights up and decays them early, and gives no numbers for ImageNet: the weights are CIFAR-100's,
# the epochs of the schedule ours.
_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    'mmpretrain::_base_/schedules/imagenet_bs256.py',
    'mmpretrain::_base_/default_runtime.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)
data_preprocessor = None  # the student brings its own

stages = ['backbone.layer1', 'backbone.layer2', 'backbone.layer3', 'backbone.layer4']
model = dict(
    _scope_='mmrazor',
    type='TeacherFreeDistill',
    architecture=dict(cfg_path='mmpretrain::resnet/resnet18_8xb32_in1k.py', pretrained=False),
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_intra=dict(
                student=stages, loss=dict(type='TfFDIntraLoss', form='released', loss_weight=8e-4)),
            loss_inter=dict(
                student=stages, loss=dict(type='TfFDInterLoss', form='released',
                                          loss_weight=5e-4)))))

phases = [dict(begin=0, end=5, start=0., stop=1.), dict(begin=30, end=60, start=1., stop=0.)]
custom_hooks = [
    dict(type='mmrazor.LossWeightHook', loss='loss_intra', phases=phases),
    dict(type='mmrazor.LossWeightHook', loss='loss_inter', phases=phases)
]
