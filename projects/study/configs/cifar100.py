# Tests and analyses a student of docs/results/cifar100 on CIFAR-100's files, official or rebuilt.
# Run: PYTHONPATH=. python tools/test.py projects/study/configs/cifar100.py \
#   docs/results/cifar100/student-1.pth
_base_ = '../../../configs/fcfd/cls/fcfd_resnet56_resnet20_1xb64_cifar100.py'
custom_imports = dict(
    imports=['mmdistill_ext', 'projects.study.cifar'], allow_failed_imports=False)

train_dataloader = test_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(type='StudyCIFAR100'))
