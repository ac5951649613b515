"""Shared by all tests. Set before torch is imported: tiny tensors gain nothing from threads."""
import os

os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('MPLBACKEND', 'Agg')
