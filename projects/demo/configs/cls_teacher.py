_base_ = '_base_/cls.py'

model = _base_.teacher
