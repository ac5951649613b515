"""Write the student of a distilled checkpoint alone: ``python tools/export_student.py CHECKPOINT``.

mmdet's ``init_detector``, mmseg's ``init_model`` and mmpretrain's ``get_model`` load the result
with the student's own config.
"""
import argparse
import os
from typing import Optional, Sequence

import mmdistill_ext  # noqa: F401, reads checkpoints safely
from mmdistill_ext.checkpoints import student
from mmdistill_ext.cli import command as cli


def export(argv: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n')[0])
    parser.add_argument('checkpoint', help='a file that tools/train.py wrote')
    parser.add_argument('--out', help='default: CHECKPOINT with _student before .pth')
    args = parser.parse_args(argv)
    out = args.out or os.path.splitext(args.checkpoint)[0] + '_student.pth'
    count = student.export(args.checkpoint, out)
    print(f'{count} weights of the student are in {out}')


if __name__ == '__main__':
    cli.main(export)
