# MMRazor's own DKD in MMRazor's algorithm for ResNet-56 -> ResNet-20, with the numbers of DKD's
# authors for this pair (mdistiller: alpha 1, beta 2, T 4, 20 epochs of warm-up). MMRazor 1.0.0 has
# no algorithm that loads a teacher strictly; the teacher's file is one of ours and fits.
_base_ = ['../../../configs/_base_/cifar100.py',
          '../../../configs/_base_/pairs/cifar100_resnet56_resnet20.py']

custom_hooks = [dict(
    type='mmrazor.LossWeightHook', loss='loss_dkd',
    phases=[dict(begin=0, end=19, start=0.05, stop=1.)])]
logits = dict(fc=dict(type='ModuleOutputs', source='head.fc'))
model = dict(
    _base_.pair,
    type='SingleTeacherDistill',
    distiller=dict(
        type='ConfigurableDistiller',
        student_recorders=dict(logits, labels=dict(type='ModuleInputs', source='head.loss_module')),
        teacher_recorders=logits,
        distill_losses=dict(loss_dkd=dict(
            type='DKDLoss', tau=4, alpha=1, beta=2, reduction='batchmean')),
        loss_forward_mappings=dict(loss_dkd=dict(
            preds_S=dict(from_student=True, recorder='fc'),
            preds_T=dict(from_student=False, recorder='fc'),
            gt_labels=dict(from_student=True, recorder='labels', data_idx=1)))))
