# ImageNet-1k, ResNet-34 -> ResNet-18 in float32, as the published script runs it.
_base_ = './fcfd_resnet34_resnet18_8xb32_in1k.py'

optim_wrapper = dict(
    _delete_=True, type='OptimWrapper', optimizer=_base_.optim_wrapper.optimizer)
