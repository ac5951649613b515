"""``python -m mmdistill_ext SCRIPT ...`` runs MMRazor's own train.py, or another, on PyTorch 2."""
import sys

from .compat import main

main(sys.argv[1:])
