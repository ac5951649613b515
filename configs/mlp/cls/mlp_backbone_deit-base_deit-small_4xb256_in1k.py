# ImageNet-1k, DeiT-B -> DeiT-S, by tokens. Not in the paper; mmpretrain's zoo: 81.76 and 80.69 top-1.
# Run, on 4 GPUs: tools/dist_train.sh \
#   configs/mlp/cls/mlp_backbone_deit-base_deit-small_4xb256_in1k.py 4
# Data, optimizer and schedule are the student's own. The weight has not been tuned.
_base_ = [
    'mmpretrain::deit/deit-small_4xb256_in1k.py', '../../_base_/pairs/in1k_deit-base_deit-small.py'
]
custom_imports = dict(imports=['mmdistill_ext'], allow_failed_imports=False)
data_preprocessor = None  # student and teacher bring theirs

model = dict(
    _base_.pair,
    _delete_=True,
    _scope_='mmrazor',
    type='LeanTeacherDistill',
    distiller=dict(
        type='LinkDistiller',
        links=dict(
            loss_tokens=dict(
                student='backbone.ln1',  # of the last layer: the class token and 14 x 14 others
                teacher='backbone.ln1',
                connector=dict(type='MLPConnector'),
                loss=dict(type='FeatureL2Loss', loss_weight=1e-5)))))
