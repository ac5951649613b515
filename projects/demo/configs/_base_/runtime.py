# What the three demos share.
custom_imports = dict(
    imports=['mmdistill_ext', 'mmdistill_ext.datasets'], allow_failed_imports=False)
randomness = dict(seed=0)
# Two threads of convolutions; the pictures come out of memory, so no worker is needed.
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=10),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2))
custom_hooks = [dict(type='mmrazor.EpochSeedHook')]
log_level = 'INFO'

train_cfg = dict(by_epoch=True, val_interval=1)
val_cfg = dict()
test_cfg = dict()
