# Tf-FD and the KL to the teacher's logits (the paper's dagger).
_base_ = 'cls_tffd.py'

model = dict(
    type='LeanTeacherDistill',
    teacher=_base_.teacher,
    teacher_ckpt='work_dirs/demo/teacher/epoch_8.pth',
    distiller=dict(
        links=dict(
            loss_kd=dict(
                student='head.fc', teacher='head.fc', loss=dict(type='KLDivergence', tau=4)))))
