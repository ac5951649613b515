"""One HTML page with tables, curves and pictures of runs; it needs no network and no other file.

    python tools/report.py WORK_DIR [WORK_DIR ...] [--out report.html]

A work dir of one run, or a folder that holds several; those of several seeds (``seed-0``,
``seed-1``) become one row. Pictures are those in the folders themselves and in each ``analysis``
folder below, where the tools of ``tools/analysis`` leave them.
"""
import argparse
from pathlib import Path
from typing import Optional, Sequence

import mmdistill_ext  # noqa: F401, registers the plugin
from mmdistill_ext.analysis import report, report_page
from mmdistill_ext.cli import command as cli


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n')[0])
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR')
    parser.add_argument('--metric', help="as mmengine's log calls it; default: the usual one")
    parser.add_argument('--title', help="default: the folders' names")
    parser.add_argument('--out', type=Path, metavar='FILE',
                        help='default: report.html in the first work dir')
    args = parser.parse_args(argv)
    sections = report.sections(args.work_dirs, args.metric)
    title = args.title or ', '.join(folder.resolve().name for folder in args.work_dirs)
    out = args.out or args.work_dirs[0] / 'report.html'
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(report_page.render(title, sections))
    print(out)


if __name__ == '__main__':
    cli.main(main)
