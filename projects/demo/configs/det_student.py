_base_ = '_base_/det.py'

model = _base_.student
