_base_ = '_base_/seg.py'

model = _base_.teacher
train_cfg = dict(max_epochs=20)
