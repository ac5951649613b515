# ImageNet-1k, 100 epochs in mixed precision, and FCFD with two of the six paths an iteration. A
# recipe adds both networks, the teacher's checkpoint and the weight of the MSE terms.
# The authors train 256 images in one process. Here they are 8x32, and SyncBN in student, teacher
# and bridges normalises over all 256. The paper says mixed precision, the published script leaves
# it off: the -fp32 recipes follow the script. Teachers are torchvision's (tools/
# convert_checkpoint.py), students start as torchvision's and PyTorch's own do.
_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    'mmpretrain::_base_/schedules/imagenet_bs256.py',
    'mmpretrain::_base_/default_runtime.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)

optim_wrapper = dict(
    type='AmpOptimWrapper', loss_scale='dynamic', optimizer=dict(nesterov=True))
sync_bn = 'torch'
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
