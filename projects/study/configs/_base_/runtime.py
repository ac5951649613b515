# What the study's tasks share. Of a student's run the figures are kept and not the weights.
custom_imports = dict(
    imports=['mmdistill_ext', 'mmdistill_ext.datasets'], allow_failed_imports=False)
randomness = dict(seed=0)
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=1))
log_level = 'INFO'

val_cfg = dict()
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=1, convert_to_iter_based=True)
]
