"""Tries the three methods on one model of each family of mmdet, mmseg and mmpretrain: `make zoo`.

    python -m projects.zoo --libraries mmpretrain
    python -m projects.zoo --families mmdet/retinanet mmseg/pspnet

It may be interrupted at any time; started again, it goes on where it was. What it finds goes to
docs/models.jsonl and, as tables, to docs/models.md.
"""
import argparse
from pathlib import Path

import mmdistill_ext  # noqa: F401
from mmdistill_ext.cli.command import leave
from mmdistill_ext.errors import ConfigError, nearest
from projects.where import HOME
from projects.zoo.families import LIBRARIES, families
from projects.zoo.page import summary, write_page
from projects.zoo.run import append, missing, read, try_family, write

RECORD, PAGE = HOME / 'docs/models.jsonl', HOME / 'docs/models.md'


def parse_args():
    parser = argparse.ArgumentParser(description='Try the three methods on every family of models')
    parser.add_argument('--libraries', nargs='+', choices=LIBRARIES, default=LIBRARIES)
    parser.add_argument('--families', nargs='+', metavar='LIBRARY/FAMILY',
                        help='only these, also if they were tried before')
    parser.add_argument('--seconds', type=float, default=900, help='the most for one family')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/zoo/results.jsonl'))
    parser.add_argument('--page-only', action='store_true',
                        help='write the page from what is recorded, and try nothing')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    every = [(library, family) for library in args.libraries for family in families(library)]
    if args.families:
        wanted = [tuple(name.partition('/')[::2]) for name in args.families]
        known = [(library, family) for library in LIBRARIES for family in families(library)]
        for key in wanted:
            if key not in known:
                raise ConfigError(f'--families: there is no {"/".join(key)!r}; '
                                  f'{nearest("/".join(key), ["/".join(k) for k in known])}')
    else:
        wanted = missing(every, read(args.out))
    for library, family in [] if args.page_only else wanted:
        result = try_family(library, family, args.seconds)
        append(args.out, result)
        print(f'{library}/{family}: {summary(result)}', flush=True)
        write(RECORD, {**read(RECORD), (library, family): result})
    write_page(PAGE, read(RECORD))


if __name__ == '__main__':
    try:
        main()
    except ConfigError as error:
        leave(str(error))
