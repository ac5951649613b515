# ImageNet-1k, 100 epochs in mixed precision, and FCFD with two of the six paths an iteration. A
# recipe adds both networks, the teacher's checkpoint and the weight of the MSE terms.
_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    'mmpretrain::_base_/schedules/imagenet_bs256.py',
    'mmpretrain::_base_/default_runtime.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic')
custom_hooks = [
    dict(
        type='mmrazor.LossWeightHook',
        loss='loss_mse',
        phases=[dict(begin=0, end=4, start=0.2, stop=1.)])
]
find_unused_parameters = True  # the bridges of paths that are not drawn

normalize = _base_.data_preprocessor
data_preprocessor = None  # student and teacher bring theirs
model = dict(
    _scope_='mmrazor',
    type='FCFDDistill',
    paths=dict(num=2),
    loss_kd=dict(type='KLDivergence', tau=1),
    loss_func_kl=dict(type='KLDivergence', tau=1),
    loss_mse=dict(type='FeatureMSELoss'))
