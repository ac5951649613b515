_base_ = '_base_/seg.py'

model = _base_.student
