"""Makes the embedded data set: digits over photographs, for three tasks.

    python tools/make_data.py                      # the demo's set, in data/digits
    python tools/make_data.py --out data/hard --noise 30 --clutter 12
"""
import argparse
from dataclasses import fields
from pathlib import Path
from typing import Optional, Sequence

from mmdistill_ext.cli import command as cli
from mmdistill_ext.datasets import SceneSettings, make_data


def parse_args(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('data/digits'), help='folder to write')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace a set made with other settings')
    for setting in fields(SceneSettings):
        parser.add_argument(f'--{setting.name.replace("_", "-")}', type=type(setting.default),
                            default=setting.default,
                            metavar=type(setting.default).__name__.upper(),
                            help=f'default {setting.default}')
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> None:
    args = parse_args(argv)
    settings = SceneSettings(**{f.name: getattr(args, f.name) for f in fields(SceneSettings)})
    written = make_data(args.out, settings, args.overwrite)
    print(f'{args.out}: ' + ('made' if written else 'already there'))


if __name__ == '__main__':
    cli.main(main)
